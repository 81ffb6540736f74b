//! The hard constraints: a node may not make its place fuller than the emptiest by more than the skew.

use std::{borrow::Cow, collections::HashMap};

use super::{Constraint, has_all_labels};
use crate::{
    cache::{NodeInfo, PodInfo},
    framework::{Code, Context, NodeFilter, Refusal},
};

const SKEW: Refusal =
    Refusal::fixed(Code::Unschedulable, &[Cow::Borrowed("node(s) didn't match pod topology spread constraints")]);
const NO_LABEL: Refusal = Refusal::fixed(
    Code::Unresolvable,
    &[Cow::Borrowed("node(s) didn't match pod topology spread constraints (missing required label)")],
);

#[derive(Clone)]
pub(super) struct Filter<'a> {
    cx: Context<'a>,
    judged: Vec<Judged<'a>>,
}

#[derive(Clone)]
struct Judged<'a> {
    constraint: Constraint,
    /// Matching pods by place.
    counts: HashMap<Cow<'a, str>, i64>,
    /// The lowest count of a place; zero where there are fewer places than asked for.
    least: i64,
    /// Whether the pod itself counts: 1 or 0.
    own: i64,
}

impl Judged<'_> {
    fn find_least(&mut self) {
        let enough = self.counts.len() as i64 >= self.constraint.min_domains;
        self.least = if enough { self.counts.values().copied().min().unwrap_or(i64::MAX) } else { 0 };
    }
}

impl<'a> Filter<'a> {
    pub(super) fn new(cx: Context<'a>, constraints: Vec<Constraint>) -> Self {
        let mut counts: Vec<HashMap<Cow<'a, str>, i64>> = vec![HashMap::new(); constraints.len()];
        for node in cx.snapshot.nodes().filter(|node| has_all_labels(node, &constraints)) {
            for (constraint, counts) in constraints.iter().zip(&mut counts) {
                if let Some(value) = node.label(&constraint.topology_key)
                    && constraint.includes(cx.pod, node)
                {
                    *counts.entry(Cow::Borrowed(value)).or_default() += constraint.count(cx.pod, node);
                }
            }
        }
        let judged = constraints.into_iter().zip(counts).map(|(constraint, counts)| {
            let own = i64::from(constraint.selects(cx.pod));
            let mut judged = Judged { constraint, counts, least: 0, own };
            judged.find_least();
            judged
        });
        Filter { cx, judged: judged.collect() }
    }

    fn adjust(&mut self, pod: &PodInfo, node: &NodeInfo, by: i64) {
        let complete = self.judged.iter().all(|j| node.label(&j.constraint.topology_key).is_some());
        if pod.namespace() != self.cx.pod.namespace() || !complete {
            return;
        }
        for judged in &mut self.judged {
            if let Some(value) = node.label(&judged.constraint.topology_key)
                && judged.constraint.selects(pod)
                && judged.constraint.includes(self.cx.pod, node)
                && let Some(count) = judged.counts.get_mut(value)
            {
                *count += by;
                judged.find_least();
            }
        }
    }
}

impl<'a> NodeFilter<'a> for Filter<'a> {
    fn check(&self, node: &NodeInfo) -> Result<(), Refusal> {
        for judged in &self.judged {
            let Some(value) = node.label(&judged.constraint.topology_key) else { return Err(NO_LABEL) };
            let here = judged.counts.get(value).copied().unwrap_or(0);
            if (here + judged.own).saturating_sub(judged.least) > judged.constraint.max_skew {
                return Err(SKEW);
            }
        }
        Ok(())
    }

    fn add_pod(&mut self, pod: &PodInfo, node: &NodeInfo) {
        self.adjust(pod, node, 1);
    }

    fn remove_pod(&mut self, pod: &PodInfo, node: &NodeInfo) {
        self.adjust(pod, node, -1);
    }

    fn boxed(&self) -> Box<dyn NodeFilter<'a> + 'a> {
        Box::new(self.clone())
    }
}
