//! DefaultPreemption: finds a node where the pod fits once less important pods are gone, at the least cost.

mod choose;

use std::{collections::BTreeMap, sync::Arc};

use api_types::k8s_openapi::{
    api::{core::v1::Pod, policy::v1::PodDisruptionBudget},
    apimachinery::pkg::apis::meta::v1::Time,
};
use component_base::rng;
use component_helpers::labels;
use serde::Deserialize;

use crate::{
    cache::{NodeInfo, PodInfo, Snapshot},
    framework::{
        ClusterEvent, Code, ConfigError, Context, Descriptor, Diagnosis, Failed, FilterSet, Plugin, Point, PostFilter,
        Preemption, Refusal,
    },
};

pub(super) const DESCRIPTOR: Descriptor =
    Descriptor { name: "DefaultPreemption", points: &[Point::PostFilter], weight: 0, build };

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct Args {
    min_candidate_nodes_percentage: usize,
    min_candidate_nodes_absolute: usize,
}

impl Default for Args {
    fn default() -> Self {
        Args { min_candidate_nodes_percentage: 10, min_candidate_nodes_absolute: 100 }
    }
}

struct DefaultPreemption {
    args: Args,
}

fn build(args: &serde_json::Value) -> Result<Arc<dyn Plugin>, ConfigError> {
    let args: Args = super::args("DefaultPreemption", args)?;
    Ok(Arc::new(DefaultPreemption { args }))
}

/// A node and who would have to go, the most important first.
type Candidate = crate::extender::Sacrifice;

impl Plugin for DefaultPreemption {
    fn post_filter(&self, failed: &Failed<'_, '_>) -> PostFilter {
        if let Some(reason) = ineligible(failed.cx, failed.diagnosis) {
            return PostFilter { message: format!("preemption: {reason}").into(), ..PostFilter::default() };
        }
        let (candidates, diagnosis) = self.candidates(failed);
        let hopeless = |message: &str| PostFilter {
            clear_nomination: true,
            message: format!("preemption: {message}").into(),
            ..PostFilter::default()
        };
        if candidates.is_empty() {
            return hopeless(&diagnosis.message());
        }
        let candidates = match failed.extenders.preempt(failed.cx.pod, candidates, failed.cx.snapshot) {
            Ok(candidates) => candidates,
            Err(error) => {
                return PostFilter { message: format!("preemption: {error}").into(), ..PostFilter::default() };
            }
        };
        match choose::best(candidates) {
            None => hopeless("no candidate node for preemption"),
            Some(best) => PostFilter {
                preemption: Some(Preemption { node: best.node, victims: best.victims }),
                ..PostFilter::default()
            },
        }
    }

    /// Those who wait for victims to end are queued again by what the other plugins say.
    fn hint(&self, _pod: &PodInfo, _event: &ClusterEvent) -> bool {
        false
    }
}

impl DefaultPreemption {
    /// Dry runs over the nodes where fewer pods might help, from a random one on, until there are enough candidates.
    fn candidates(&self, failed: &Failed<'_, '_>) -> (Vec<Candidate>, Diagnosis) {
        let snapshot = failed.cx.snapshot;
        let helpful = failed.diagnosis.refusals.iter().filter(|(_, refusal)| refusal.code == Code::Unschedulable);
        let nodes: Vec<&NodeInfo> = helpful.filter_map(|(slot, _)| snapshot.at(*slot)).collect();
        let mut diagnosis = Diagnosis {
            nodes: snapshot.len(),
            others: Some(Refusal::unresolvable("Preemption is not helpful for scheduling")),
            ..Diagnosis::default()
        };
        let mut found = Vec::new();
        if nodes.is_empty() {
            return (found, diagnosis);
        }
        let share = nodes.len() * self.args.min_candidate_nodes_percentage / 100;
        let enough = share.max(self.args.min_candidate_nodes_absolute).min(nodes.len());
        let offset = rng::range(0..nodes.len() as u64) as usize;
        // Filters that see nothing but the node need no dry run of their own: one copy serves for all nodes.
        let sees_nodes_alone = failed.filters.sees_nodes_alone();
        let mut filters = failed.filters.clone();
        for (n, node) in nodes.iter().cycle().skip(offset).take(nodes.len()).enumerate() {
            if n > 0 && !sees_nodes_alone {
                filters = failed.filters.clone();
            }
            match victims(failed, &mut filters, node) {
                Ok(candidate) => found.push(candidate),
                Err(refusal) => {
                    diagnosis.refusals.push((node.slot, refusal));
                }
            }
            if found.len() >= enough {
                break;
            }
        }
        (found, diagnosis)
    }
}

/// Why the pod may not make room for itself.
fn ineligible(cx: Context<'_>, diagnosis: &Diagnosis) -> Option<&'static str> {
    if cx.pod.spec().and_then(|s| s.preemption_policy.as_deref()) == Some("Never") {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let nominated =
        cx.pod.pod.status.as_ref().and_then(|s| s.nominated_node_name.as_deref()).filter(|n| !n.is_empty())?;
    let node = cx.snapshot.node(nominated)?;
    if diagnosis.of(node.slot).is_some_and(|r| r.code == Code::Unresolvable) {
        return None;
    }
    let leaving = |p: &Arc<PodInfo>| p.is_terminating() && p.priority < cx.pod.priority;
    node.pods.iter().any(leaving).then_some("not eligible due to a terminating pod on the nominated node.")
}

/// Who has to go from the node, so that the pod fits: all who may, less those who can stay after all.
fn victims(failed: &Failed<'_, '_>, filters: &mut FilterSet<'_>, node: &NodeInfo) -> Result<Candidate, Refusal> {
    let cx = failed.cx;
    let mut potential: Vec<Arc<PodInfo>> = node.pods.iter().filter(|p| p.priority < cx.pod.priority).cloned().collect();
    if potential.is_empty() {
        return Err(Refusal::unresolvable("No preemption victims found for incoming pod"));
    }
    let mut emptied = node.clone();
    for pod in &potential {
        emptied.remove_pod(&pod.key);
        filters.remove_pod(pod, &emptied);
    }
    filters.check_with_nominated(cx, &emptied).map_err(|(_, refusal)| refusal)?;
    potential.sort_by_key(|pod| std::cmp::Reverse(importance(pod)));
    let (protected, free) = split_protected(&potential, cx.snapshot);
    let mut candidate = Candidate { node: node.name().to_owned(), victims: Vec::new(), violations: 0 };
    for pod in &protected {
        if !reprieve(cx, filters, &mut emptied, pod) {
            candidate.violations += 1;
            candidate.victims.push(pod.clone());
        }
    }
    for pod in &free {
        if !reprieve(cx, filters, &mut emptied, pod) {
            candidate.victims.push(pod.clone());
        }
    }
    candidate.victims.sort_by_key(|pod| std::cmp::Reverse(importance(pod)));
    Ok(candidate)
}

/// Puts the pod back where the preemptor still fits beside it.
fn reprieve(cx: Context<'_>, filters: &mut FilterSet<'_>, node: &mut NodeInfo, pod: &Arc<PodInfo>) -> bool {
    node.add_pod(pod.clone());
    filters.add_pod(pod, node);
    let fits = filters.check_with_nominated(cx, node).is_ok();
    if !fits {
        node.remove_pod(&pod.key);
        filters.remove_pod(pod, node);
    }
    fits
}

/// Orders pods by importance: priority, then who started earlier. A pod that did not start is the youngest.
fn importance(pod: &PodInfo) -> (i32, std::cmp::Reverse<(bool, Option<Time>)>) {
    let start = start_time(&pod.pod);
    (pod.priority, std::cmp::Reverse((start.is_none(), start)))
}

fn start_time(pod: &Pod) -> Option<Time> {
    pod.status.as_ref().and_then(|s| s.start_time.clone())
}

/// Pods whose eviction a disruption budget forbids, and the others; each in the given order.
fn split_protected(pods: &[Arc<PodInfo>], snapshot: &Snapshot) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    let mut allowed: BTreeMap<&str, i32> = BTreeMap::new();
    let mut is_protected = |pod: &PodInfo| {
        let mut protected = false;
        for (key, budget) in &snapshot.catalog.disruption_budgets {
            if applies(budget, pod) {
                let status = budget.status.as_ref();
                let left =
                    allowed.entry(key).or_insert_with(|| status.and_then(|s| s.disruptions_allowed).unwrap_or(0));
                let already_going =
                    status.and_then(|s| s.disrupted_pods.as_ref()).is_some_and(|d| d.contains_key(pod.name()));
                if !already_going {
                    *left -= 1;
                    protected |= *left < 0;
                }
            }
        }
        protected
    };
    pods.iter().cloned().partition(|pod| is_protected(pod))
}

fn applies(budget: &PodDisruptionBudget, pod: &PodInfo) -> bool {
    let selector = budget.spec.as_ref().and_then(|s| s.selector.as_ref());
    budget.metadata.namespace.as_deref() == Some(pod.namespace())
        && pod.labels().is_some_and(|l| !l.is_empty())
        && !labels::is_empty(selector)
        && labels::selects(selector, pod.labels())
}
