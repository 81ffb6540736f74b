//! How full a node should be: the scoring strategies of NodeResourcesFit.

use serde::Deserialize;

use super::{Weighted, cpu_and_memory, is_optional};
use crate::{
    cache::{NodeInfo, PodInfo},
    framework::MAX_SCORE,
};

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
    pub(super) fn new(args: StrategyArgs) -> Result<Self, String> {
        let kind = match args.r#type.as_str() {
            "LeastAllocated" => Kind::Least,
            "MostAllocated" => Kind::Most,
            "RequestedToCapacityRatio" => Kind::Shape(shape(args.requested_to_capacity_ratio.unwrap_or_default())?),
            other => return Err(format!("scoringStrategy.type: unsupported value {other:?}")),
        };
        let mut resources = if args.resources.is_empty() { cpu_and_memory() } else { args.resources };
        for resource in &mut resources {
            match resource.weight {
                0 => resource.weight = 1,
                1..=100 => {}
                _ => return Err(format!("scoringStrategy.resources: weight of {} must be in 1..100", resource.name)),
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
    let points: Vec<_> = args.shape.iter().map(|p| (p.utilization, p.score * MAX_SCORE / 10)).collect();
    let valid = args.shape.iter().all(|p| (0..=100).contains(&p.utilization) && (0..=10).contains(&p.score));
    if points.is_empty() || !valid || points.windows(2).any(|w| w[0].0 >= w[1].0) {
        return Err(
            "requestedToCapacityRatio.shape: want points of rising utilization (0-100) with scores (0-10)".to_owned()
        );
    }
    Ok(points)
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
        let strategy = |json: serde_json::Value| Strategy::new(serde_json::from_value(json).unwrap()).err();
        assert!(strategy(serde_json::json!({"type": "MostAllocated"})).is_none());
        assert!(strategy(serde_json::json!({"type": "Fullest"})).is_some());
        assert!(strategy(serde_json::json!({"type": "RequestedToCapacityRatio"})).is_some());
        assert!(strategy(serde_json::json!({"resources": [{"name": "cpu", "weight": 101}]})).is_some());
    }
}
