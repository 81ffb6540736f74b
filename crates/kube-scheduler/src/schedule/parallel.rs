//! Long searches on all cores. The verdicts come in the order of the nodes, as if they had been asked for one by one.

use std::{num::NonZero, panic::resume_unwind, sync::OnceLock, thread};

use crate::{
    cache::{NodeInfo, evaluations::Refused},
    framework::{Context, FilterSet},
};

/// After so many nodes a search counts as long; fewer nodes are judged in less time than threads take to start.
const LONG: usize = 4096;
/// Upstream's default `parallelism`.
const THREADS: usize = 16;

/// How many nodes to judge ahead in a search that has come past `step` of `nodes` without an end: each time as many as before, so that
/// at most half of the work is in vain. Zero: go on one by one.
pub(super) fn ahead(step: usize, nodes: usize) -> usize {
    let block = step.min(nodes - step);
    if step >= LONG && block >= LONG / 2 { block } else { 0 }
}

/// How many threads it pays to use.
pub(super) fn threads() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, NonZero::get).min(THREADS))
}

/// What the filters say of the nodes.
pub(super) fn judge<'a>(
    filters: &FilterSet<'a>,
    cx: Context<'a>,
    nodes: &[&'a NodeInfo],
    threads: usize,
) -> Vec<Result<(), Refused>> {
    let judge_part =
        |part: &[&NodeInfo]| -> Vec<_> { part.iter().map(|node| filters.check_with_nominated(cx, node)).collect() };
    if threads < 2 {
        return judge_part(nodes);
    }
    let share = nodes.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let parts: Vec<_> = nodes.chunks(share).map(|part| scope.spawn(move || judge_part(part))).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::{
        cache::{PodInfo, Snapshot},
        config::ProfileConfig,
        framework::{CycleState, Point, PreFilter, Profile},
    };

    #[test]
    fn threads_do_not_show() {
        let mut snapshot = Snapshot::default();
        for n in 0..50 {
            let node = json!({"metadata": {"name": format!("n{n}")}, "spec": {"unschedulable": n % 7 == 0},
                "status": {"allocatable": {"cpu": format!("{}", n % 5), "memory": "1Gi", "pods": "10"}}});
            snapshot.set_node(Arc::new(serde_json::from_value(node).unwrap()));
        }
        snapshot.settle();
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]}});
        let pod = PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap()));
        let (profile, cx) =
            (Profile::new(&ProfileConfig::default(), 0).unwrap(), Context { snapshot: &snapshot, pod: &pod });
        let mut filters = FilterSet::new();
        for enabled in profile.at(Point::Filter) {
            if let PreFilter::Filter(filter) = enabled.plugin.pre_filter(cx, &mut CycleState::default()) {
                filters.push(enabled.name, filter);
            }
        }
        let nodes: Vec<_> = snapshot.nodes().collect();
        let one = judge(&filters, cx, &nodes, 1);
        assert!(one.iter().any(Result::is_ok) && one.iter().any(Result::is_err));
        for threads in [2, 3, 16, 60] {
            assert_eq!(judge(&filters, cx, &nodes, threads), one, "{threads} threads");
        }
    }

    #[test]
    fn blocks_grow_with_the_search() {
        let table = [
            (0, 50_000, 0),
            (4095, 50_000, 0),
            (4096, 50_000, 4096),
            (8192, 50_000, 8192),
            (32_768, 50_000, 17_232),
            (4096, 5000, 0),
        ];
        for (step, nodes, want) in table {
            assert_eq!(ahead(step, nodes), want, "{step} of {nodes}");
        }
    }
}
