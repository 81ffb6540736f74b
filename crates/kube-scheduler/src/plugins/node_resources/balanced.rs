//! NodeResourcesBalancedAllocation: a node where the pod makes the used parts of its resources more equal is better.

use std::sync::Arc;

use serde::Deserialize;

use super::{Weighted, cpu_and_memory, is_optional};
use crate::{
    cache::{NodeInfo, PodInfo},
    framework::{Context, Descriptor, MAX_SCORE, NodeScorer, Plugin, Point, PreScore, Signature},
};

pub(in super::super) const DESCRIPTOR: Descriptor = Descriptor {
    name: "NodeResourcesBalancedAllocation",
    points: &[Point::PreScore, Point::Score],
    weight: 1,
    build: |args| Ok(Arc::new(Balanced { args: super::super::args("NodeResourcesBalancedAllocation", args)? })),
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Args {
    resources: Vec<Weighted>,
}

impl Default for Args {
    fn default() -> Self {
        Args { resources: cpu_and_memory() }
    }
}

struct Balanced {
    args: Args,
}

struct Scorer<'a> {
    pod: &'a PodInfo,
    resources: &'a [Weighted],
}

impl Plugin for Balanced {
    /// A pod that requests none of the resources is indifferent, so that such pods do not crowd on one node.
    fn pre_score<'a>(&'a self, cx: Context<'a>, _feasible: &[&'a NodeInfo]) -> PreScore<'a> {
        let requests = |r: &Weighted| cx.pod.requests.of(&r.name) != 0;
        if self.args.resources.iter().any(requests) {
            PreScore::score(Scorer { pod: cx.pod, resources: &self.args.resources })
        } else {
            PreScore::Skip
        }
    }
}

impl Scorer<'_> {
    /// How equal the used parts are, from 50 to 100, with the pod on the node (`pods` is 1) or without (0).
    fn balance(&self, node: &NodeInfo, pods: i64) -> i64 {
        let fraction = |resource: &Weighted| {
            let (wanted, capacity) = (self.pod.requests.of(&resource.name), node.allocatable.of(&resource.name));
            let counts = capacity != 0 && !(wanted == 0 && is_optional(&resource.name));
            counts.then(|| ((node.requested.of(&resource.name) + pods * wanted) as f64 / capacity as f64).min(1.0))
        };
        let fractions: Vec<f64> = self.resources.iter().filter_map(fraction).collect();
        ((1.0 - deviation(&fractions)) * MAX_SCORE as f64) as i64
    }
}

impl NodeScorer for Scorer<'_> {
    /// What the pod changes: 75 where the node stays as it is, 50 and 100 at the worst and the best.
    fn score(&self, node: &NodeInfo) -> i64 {
        (3 * MAX_SCORE / 2 + self.balance(node, 1) - self.balance(node, 0)) / 2
    }

    fn sign(&self, signature: &mut Signature) -> bool {
        signature.add(&self.pod.requests);
        true
    }
}

/// The standard deviation. Of two it is half their distance, computed as such so that rounding equals upstream's.
fn deviation(fractions: &[f64]) -> f64 {
    match fractions {
        [] | [_] => 0.0,
        [a, b] => ((a - b) / 2.0).abs(),
        _ => {
            let mean = fractions.iter().sum::<f64>() / fractions.len() as f64;
            (fractions.iter().map(|f| (f - mean) * (f - mean)).sum::<f64>() / fractions.len() as f64).sqrt()
        }
    }
}
