//! The soft constraints: the emptier its places, the better the node.

use std::collections::HashMap;

use super::{Constraint, HOSTNAME, has_all_labels};
use crate::{
    cache::NodeInfo,
    framework::{Context, MAX_SCORE, NodeScorer},
};

/// What the normalisation takes for a node that lacks a label.
const IGNORED: i64 = -1;

pub(super) struct Scorer<'a> {
    cx: Context<'a>,
    constraints: Vec<Weighted<'a>>,
    needs_all_labels: bool,
}

struct Weighted<'a> {
    constraint: Constraint,
    /// Matching pods by place, for the places of nodes in question. Not used for single nodes.
    counts: HashMap<&'a str, i64>,
    /// More places weigh more, so that constraints of few and many places can be added.
    weight: f64,
}

impl<'a> Scorer<'a> {
    pub(super) fn new(
        cx: Context<'a>,
        constraints: Vec<Constraint>,
        feasible: &[&'a NodeInfo],
        needs_all_labels: bool,
    ) -> Self {
        let counted: Vec<_> =
            feasible.iter().filter(|n| !needs_all_labels || has_all_labels(n, &constraints)).collect();
        let mut counts: Vec<HashMap<&'a str, i64>> = vec![HashMap::new(); constraints.len()];
        for node in &counted {
            for (constraint, counts) in constraints.iter().zip(&mut counts).filter(|(c, _)| c.topology_key != HOSTNAME)
            {
                if let Some(value) = node.label(&constraint.topology_key) {
                    counts.insert(value, 0);
                }
            }
        }
        for node in cx.snapshot.nodes().filter(|n| !needs_all_labels || has_all_labels(n, &constraints)) {
            for (constraint, counts) in constraints.iter().zip(&mut counts) {
                if let Some(count) = node.label(&constraint.topology_key).and_then(|value| counts.get_mut(value))
                    && constraint.includes(cx.pod, node)
                {
                    *count += constraint.count(cx.pod, node);
                }
            }
        }
        let weighted = constraints.into_iter().zip(counts).map(|(constraint, counts)| {
            let places = if constraint.topology_key == HOSTNAME { counted.len() } else { counts.len() };
            Weighted { constraint, counts, weight: ((places + 2) as f64).ln() }
        });
        Scorer { cx, constraints: weighted.collect(), needs_all_labels }
    }
}

impl NodeScorer for Scorer<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        if self.needs_all_labels && self.constraints.iter().any(|w| node.label(&w.constraint.topology_key).is_none()) {
            return IGNORED;
        }
        let mut score = 0.0;
        for weighted in &self.constraints {
            let Some(value) = node.label(&weighted.constraint.topology_key) else { continue };
            let count = if weighted.constraint.topology_key == HOSTNAME {
                weighted.constraint.count(self.cx.pod, node)
            } else {
                weighted.counts.get(value).copied().unwrap_or(0)
            };
            score += count as f64 * weighted.weight + (weighted.constraint.max_skew - 1) as f64;
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
