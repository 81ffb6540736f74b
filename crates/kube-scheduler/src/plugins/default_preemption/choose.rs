//! Which node's victims cost least.

use std::cmp::Reverse;

use super::{Candidate, start_time};

/// The candidate with, in this order: the fewest broken budgets, the least important first victim, the lowest sum of
/// priorities, the fewest victims, the latest start of the most important victims.
pub(super) fn best(candidates: Vec<Candidate>) -> Option<Candidate> {
    candidates.into_iter().reduce(|best, other| if cost(&other) < cost(&best) { other } else { best })
}

type Cost = (usize, i32, i64, usize, Reverse<(bool, Option<api_types::k8s_openapi::jiff::Timestamp>)>);

fn cost(candidate: &Candidate) -> Cost {
    let victims = &candidate.victims;
    let highest = victims.first().map_or(i32::MIN, |p| p.priority);
    // Shifted, so that more victims never cost less when priorities are negative.
    let sum = victims.iter().map(|p| i64::from(p.priority) + i64::from(i32::MAX) + 1).sum();
    let top = victims.iter().filter(|p| p.priority == highest);
    // The earliest start among the most important; one that did not start counts as just started.
    let earliest = top.map(|p| start_time(&p.pod).map(|t| t.0)).map(|t| (t.is_none(), t)).min().unwrap_or((true, None));
    (candidate.violations, highest, sum, victims.len(), Reverse(earliest))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::cache::PodInfo;

    fn candidate(node: &str, violations: usize, victims: &[(i32, i64)]) -> Candidate {
        let pod = |(priority, start): &(i32, i64)| {
            let start = api_types::k8s_openapi::jiff::Timestamp::from_second(*start).unwrap().to_string();
            let pod = json!({"metadata": {"name": "p"}, "spec": {"priority": priority, "containers": []}, "status": {"startTime": start}});
            Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())))
        };
        Candidate { node: node.to_owned(), violations, victims: victims.iter().map(pod).collect() }
    }

    #[test]
    fn the_cheapest_wins() {
        let table = [
            (candidate("a", 1, &[(1, 0)]), candidate("b", 0, &[(9, 0), (9, 0)]), "b"),
            (candidate("a", 0, &[(5, 0)]), candidate("b", 0, &[(4, 0), (4, 0)]), "b"),
            (candidate("a", 0, &[(5, 0), (1, 0)]), candidate("b", 0, &[(5, 0), (0, 0)]), "b"),
            (candidate("a", 0, &[(5, 0), (-1, 0)]), candidate("b", 0, &[(5, 0)]), "b"),
            (candidate("a", 0, &[(5, 10)]), candidate("b", 0, &[(5, 20)]), "b"),
            (candidate("a", 0, &[(5, 10)]), candidate("b", 0, &[(5, 10)]), "a"),
        ];
        for (a, b, want) in table {
            assert_eq!(best(vec![a, b]).map(|c| c.node).as_deref(), Some(want));
        }
        assert!(best(Vec::new()).is_none());
    }
}
