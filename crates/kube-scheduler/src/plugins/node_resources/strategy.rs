//! How full a node should be: the scoring strategies of NodeResourcesFit.

use serde::Deserialize;

use super::{Weighted, cpu_and_memory, is_optional};
use crate::{
    cache::{NodeInfo, PodInfo},
    framework::MAX_SCORE,
};

const RATIO: &str = "scoringStrategy.requestedToCapacityRatio";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct StrategyArgs {
    r#type: String,
    resources: Vec<Weighted>,
    requested_to_capacity_ratio: Option<RatioArgs>,
}

impl Default for StrategyArgs {
    fn default() -> Self {
        StrategyArgs {
            r#type: "LeastAllocated".to_owned(),
            resources: cpu_and_memory(),
            requested_to_capacity_ratio: None,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RatioArgs {
    shape: Vec<ShapePoint>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShapePoint {
    utilization: i64,
    #[serde(default)]
    score: i64,
}

enum Kind {
    Least,
    Most,
    /// Utilization in percent and score out of 100, rising utilization.
    Shape(Vec<(i64, i64)>),
}

pub(super) struct Strategy {
    kind: Kind,
    resources: Vec<Weighted>,
}

impl Strategy {
    pub(super) fn new(mut args: StrategyArgs) -> Result<Self, String> {
        let kind = match args.r#type.as_str() {
            "LeastAllocated" => Kind::Least,
            "MostAllocated" => Kind::Most,
            "RequestedToCapacityRatio" => match args.requested_to_capacity_ratio.take() {
                Some(ratio) => Kind::Shape(shape(ratio)?),
                None => {
                    let why = "must be specified when type is RequestedToCapacityRatio";
                    return Err(format!("{RATIO}: Required value: {why}"));
                }
            },
            other => {
                let known = "\"LeastAllocated\", \"MostAllocated\", \"RequestedToCapacityRatio\"";
                return Err(format!("scoringStrategy.type: Unsupported value: {other:?}: supported values: {known}"));
            }
        };
        if args.requested_to_capacity_ratio.is_some() {
            return Err(format!("{RATIO}: Forbidden: must be nil when type is not RequestedToCapacityRatio"));
        }
        let mut resources = if args.resources.is_empty() { cpu_and_memory() } else { args.resources };
        for (index, resource) in resources.iter_mut().enumerate() {
            match resource.weight {
                0 => resource.weight = 1,
                1..=100 => {}
                weight => {
                    let why = format!("resource weight of {} not in valid range (0, 100]", resource.name);
                    return Err(format!("scoringStrategy.resources[{index}].weight: Invalid value: {weight}: {why}"));
                }
            }
        }
        Ok(Strategy { kind, resources })
    }

    /// The weighted mean over the resources that the node offers.
    pub(super) fn score(&self, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let (mut sum, mut weights) = (0, 0);
        for resource in &self.resources {
            let (wanted, used) = match resource.name.as_str() {
                "cpu" => (pod.non_zero.milli_cpu, node.non_zero.milli_cpu),
                "memory" => (pod.non_zero.memory, node.non_zero.memory),
                name => (pod.requests.of(name), node.requested.of(name)),
            };
            let capacity = node.allocatable.of(&resource.name);
            if capacity == 0 || (wanted == 0 && is_optional(&resource.name)) {
                continue;
            }
            let score = self.of_one(used + wanted, capacity);
            if matches!(self.kind, Kind::Shape(_)) && score <= 0 {
                continue;
            }
            sum += score * resource.weight;
            weights += resource.weight;
        }
        match (&self.kind, weights) {
            (_, 0) => 0,
            (Kind::Shape(_), _) => (sum as f64 / weights as f64).round() as i64,
            _ => sum / weights,
        }
    }

    fn of_one(&self, requested: i64, capacity: i64) -> i64 {
        match &self.kind {
            Kind::Least if requested > capacity => 0,
            Kind::Least => (capacity - requested) * MAX_SCORE / capacity,
            Kind::Most => requested.min(capacity) * MAX_SCORE / capacity,
            Kind::Shape(points) => along(points, if requested > capacity { 100 } else { requested * 100 / capacity }),
        }
    }
}

fn shape(args: RatioArgs) -> Result<Vec<(i64, i64)>, String> {
    if args.shape.is_empty() {
        return Err(format!("{RATIO}.shape: Required value: at least one point must be specified"));
    }
    for (index, point) in args.shape.iter().enumerate() {
        let wrong = |field: &str, value: i64, why: &str| {
            Err(format!("{RATIO}.shape[{index}].{field}: Invalid value: {value}: {why}"))
        };
        if index > 0 && args.shape[index - 1].utilization >= point.utilization {
            return wrong("utilization", point.utilization, "values must be sorted in increasing order");
        }
        if !(0..=100).contains(&point.utilization) {
            return wrong("utilization", point.utilization, "not in valid range [0, 100]");
        }
        if !(0..=10).contains(&point.score) {
            return wrong("score", point.score, "not in valid range [0, 10]");
        }
    }
    Ok(args.shape.iter().map(|p| (p.utilization, p.score * MAX_SCORE / 10)).collect())
}

/// The broken line through the points, level beyond its ends.
fn along(points: &[(i64, i64)], at: i64) -> i64 {
    match points.iter().position(|(x, _)| at <= *x) {
        None => points.last().map_or(0, |p| p.1),
        Some(0) => points[0].1,
        Some(next) => {
            let ((x0, y0), (x1, y1)) = (points[next - 1], points[next]);
            y0 + (y1 - y0) * (at - x0) / (x1 - x0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_interpolate() {
        let points = [(0, 100), (50, 0), (100, 50)];
        for (at, want) in [(0, 100), (25, 50), (50, 0), (75, 25), (100, 50)] {
            assert_eq!(along(&points, at), want, "{at}");
        }
    }

    #[test]
    fn wrong_arguments_are_refused() {
        use serde_json::json;
        let strategy = |json: serde_json::Value| Strategy::new(serde_json::from_value(json).unwrap()).err();
        let ratio = |shape: serde_json::Value| json!({"type": "RequestedToCapacityRatio", "requestedToCapacityRatio": {"shape": shape}});
        let table = [
            (json!({"type": "MostAllocated"}), None),
            (ratio(json!([{"utilization": 0, "score": 10}, {"utilization": 100}])), None),
            (json!({"type": "Fullest"}), Some("type: Unsupported value: \"Fullest\": supported values: ")),
            (
                json!({"type": "RequestedToCapacityRatio"}),
                Some("requestedToCapacityRatio: Required value: must be specified"),
            ),
            (
                json!({"requestedToCapacityRatio": {"shape": []}}),
                Some("requestedToCapacityRatio: Forbidden: must be nil"),
            ),
            (ratio(json!([])), Some("requestedToCapacityRatio.shape: Required value: at least one point")),
            (
                ratio(json!([{"utilization": 5}, {"utilization": 5}])),
                Some("requestedToCapacityRatio.shape[1].utilization: Invalid value: 5: values must be sorted"),
            ),
            (
                ratio(json!([{"utilization": 5, "score": 11}])),
                Some("requestedToCapacityRatio.shape[0].score: Invalid value: 11: not in"),
            ),
            (
                json!({"resources": [{"name": "cpu", "weight": 101}]}),
                Some("resources[0].weight: Invalid value: 101: resource weight of cpu not in valid range (0, 100]"),
            ),
        ];
        for (args, want) in table {
            let got = strategy(args.clone());
            let starts =
                |want: &str| got.as_ref().is_some_and(|got| got.starts_with(&format!("scoringStrategy.{want}")));
            assert!(want.map_or(got.is_none(), starts), "{args}: {got:?}");
        }
    }
}
