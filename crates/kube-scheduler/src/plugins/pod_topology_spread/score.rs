//! The soft constraints: the emptier its places, the better the node.

use super::{Constraint, Counted, HOSTNAME, has_all_labels, visit_counts};
use crate::{
    cache::NodeInfo,
    framework::{Context, MAX_SCORE, NodeScorer},
};

/// What the normalisation takes for a node that lacks a label.
const IGNORED: i64 = -1;

pub(super) struct Scorer {
    all: Vec<Counted>,
    weights: Vec<Weight>,
    needs_all_labels: bool,
}

struct Weight {
    /// Pods that count, by place, for the places of nodes in question; none elsewhere. Not used for single nodes.
    counts: Vec<Option<i64>>,
    /// More places weigh more, so that constraints of few and many places can be added.
    weight: f64,
}

impl Scorer {
    pub(super) fn new(
        cx: Context<'_>,
        constraints: Vec<Constraint>,
        feasible: &[&NodeInfo],
        needs_all_labels: bool,
    ) -> Self {
        let all: Vec<Counted> = constraints.into_iter().map(|c| Counted::new(cx, c)).collect();
        let complete = |node: &&&NodeInfo| !needs_all_labels || has_all_labels(node, &all);
        let nodes: Vec<_> = feasible.iter().filter(complete).collect();
        let mut counts: Vec<Vec<Option<i64>>> = all.iter().map(|c| vec![None; c.column.places()]).collect();
        for (counted, counts) in all.iter().zip(&mut counts).filter(|(c, _)| c.constraint.topology_key != HOSTNAME) {
            nodes.iter().filter_map(|node| counted.column.of(node)).for_each(|place| counts[place] = Some(0));
        }
        if all.iter().any(|c| c.constraint.topology_key != HOSTNAME) {
            visit_counts(cx, &all, needs_all_labels, &mut |index, place, count| {
                if let Some(known) = &mut counts[index][place] {
                    *known += count;
                }
            });
        }
        let weights = all.iter().zip(counts).map(|(counted, counts)| {
            let single = counted.constraint.topology_key == HOSTNAME;
            let places = if single { nodes.len() } else { counts.iter().flatten().count() };
            Weight { counts, weight: ((places + 2) as f64).ln() }
        });
        Scorer { weights: weights.collect(), all, needs_all_labels }
    }
}

impl NodeScorer for Scorer {
    fn score(&self, node: &NodeInfo) -> i64 {
        if self.needs_all_labels && !has_all_labels(node, &self.all) {
            return IGNORED;
        }
        let mut score = 0.0;
        for (counted, weight) in self.all.iter().zip(&self.weights) {
            let Some(place) = counted.column.of(node) else { continue };
            let single = counted.constraint.topology_key == HOSTNAME;
            let count = if single { counted.on(node) } else { weight.counts[place].unwrap_or(0) };
            score += count as f64 * weight.weight + (counted.constraint.max_skew - 1) as f64;
        }
        score.round() as i64
    }

    fn normalize(&self, scores: &mut [i64], _nodes: &[&NodeInfo]) {
        let valid = || scores.iter().copied().filter(|s| *s != IGNORED);
        let (least, most) = (valid().min().unwrap_or(0), valid().max().unwrap_or(0));
        for score in scores {
            *score = match *score {
                IGNORED => 0,
                _ if most == 0 => MAX_SCORE,
                score => MAX_SCORE * (most + least - score) / most,
            };
        }
    }
}
