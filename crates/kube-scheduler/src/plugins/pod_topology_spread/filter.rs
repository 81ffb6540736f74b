//! The hard constraints: a node may not make its place fuller than the emptiest by more than the skew.

use std::borrow::Cow;

use super::{Constraint, Counted, visit_counts};
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
    judged: Vec<Judged>,
}

#[derive(Clone)]
struct Judged {
    counted: Counted,
    /// Pods that count, by place; none for places that are not in question.
    counts: Vec<Option<i64>>,
    /// The lowest count of a place; zero where there are fewer places than asked for.
    least: i64,
    /// Whether the pod itself counts: 1 or 0.
    own: i64,
}

impl Judged {
    fn find_least(&mut self) {
        let places = self.counts.iter().flatten();
        let enough = places.clone().count() as i64 >= self.counted.constraint.min_domains;
        self.least = if enough { places.min().copied().unwrap_or(i64::MAX) } else { 0 };
    }
}

impl<'a> Filter<'a> {
    pub(super) fn new(cx: Context<'a>, constraints: Vec<Constraint>) -> Self {
        let all: Vec<Counted> = constraints.into_iter().map(|c| Counted::new(cx, c)).collect();
        let mut counts: Vec<Vec<Option<i64>>> = all.iter().map(|c| vec![None; c.column.places()]).collect();
        visit_counts(cx, &all, true, &mut |index, place, count| *counts[index][place].get_or_insert(0) += count);
        let judged = all.into_iter().zip(counts).map(|(counted, counts)| {
            let own = i64::from(counted.constraint.selects(cx.pod));
            let mut judged = Judged { counted, counts, least: 0, own };
            judged.find_least();
            judged
        });
        Filter { cx, judged: judged.collect() }
    }

    fn adjust(&mut self, pod: &PodInfo, node: &NodeInfo, by: i64) {
        let complete = self.judged.iter().all(|j| j.counted.column.of(node).is_some());
        if pod.namespace() != self.cx.pod.namespace() || !complete {
            return;
        }
        for judged in &mut self.judged {
            let constraint = &judged.counted.constraint;
            if let Some(place) = judged.counted.column.of(node)
                && constraint.selects(pod)
                && constraint.includes(self.cx.pod, node)
                && let Some(count) = &mut judged.counts[place]
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
            let Some(place) = judged.counted.column.of(node) else { return Err(NO_LABEL) };
            let here = judged.counts[place].unwrap_or(0);
            if (here + judged.own).saturating_sub(judged.least) > judged.counted.constraint.max_skew {
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
