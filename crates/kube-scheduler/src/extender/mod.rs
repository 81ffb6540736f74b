//! Extenders: programs outside of the scheduler that filter and score nodes, choose among victims, and bind pods, over HTTP.
//!
//! They are asked one after the other, after the plugins. A failing extender fails the attempt, unless it is `ignorable`; scores that
//! cannot be had count nothing.

mod config;
#[cfg(test)]
mod tests;
mod transport;
mod wire;

use std::{collections::BTreeSet, sync::Arc};

use api_types::k8s_openapi::api::core::v1::{Container, Pod};

pub(crate) use config::check;
pub use config::{ExtenderConfig, ManagedResource};
use transport::{Connections, Transport};

use crate::{
    cache::{NodeInfo, PodInfo, Snapshot},
    framework::{Code, Context, Diagnosis, MAX_SCORE, Refusal},
};

/// What pods that an extender refused are waiting for: any change.
const NAME: &str = "Extender";
/// The highest score that an extender gives.
const MAX_PRIORITY: i64 = 10;

/// A node and who would have to go from it: their UIDs are what extenders know.
#[derive(Clone, Debug)]
pub struct Sacrifice {
    /// The node.
    pub node: String,
    /// The pods.
    pub victims: Vec<Arc<PodInfo>>,
    /// How many of them a disruption budget protects.
    pub violations: usize,
}

/// The extenders, in the order in which they are asked.
#[derive(Debug, Default)]
pub struct Extenders(Vec<Extender>);

struct Extender {
    config: ExtenderConfig,
    managed: BTreeSet<String>,
    transport: Transport,
}

impl std::fmt::Debug for Extender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Extender").field(&self.config.url_prefix).finish()
    }
}

impl Extenders {
    /// Prepares the extenders; none is called yet.
    ///
    /// # Errors
    /// Names the setting that cannot be used.
    pub fn new(configs: &[ExtenderConfig]) -> Result<Self, String> {
        if configs.is_empty() {
            return Ok(Extenders::default());
        }
        let connections = Arc::new(Connections::new().map_err(|error| error.to_string())?);
        let make = |(index, config): (usize, &ExtenderConfig)| {
            let at = |why: String| format!("extenders[{index}].{why}");
            let timeout = config.timeout().map_err(at)?;
            let settings = config.client().map_err(at)?;
            let transport = Transport::new(connections.clone(), settings, &config.url_prefix, timeout).map_err(at)?;
            let managed = config.managed_resources.iter().map(|r| r.name.clone()).collect();
            Ok(Extender { config: config.clone(), managed, transport })
        };
        configs.iter().enumerate().map(make).collect::<Result<_, String>>().map(Extenders)
    }

    fn interested<'a>(&'a self, pod: &'a Pod) -> impl Iterator<Item = &'a Extender> {
        self.0.iter().filter(move |extender| extender.is_interested(pod))
    }

    /// Leaves those of the feasible nodes that every extender takes, and notes why the others are not.
    ///
    /// # Errors
    /// Where an extender that is not ignorable fails.
    pub fn filter(
        &self,
        cx: Context<'_>,
        feasible: &mut Vec<&NodeInfo>,
        diagnosis: &mut Diagnosis,
    ) -> Result<(), String> {
        for extender in self.interested(&cx.pod.pod).filter(|e| !e.config.filter_verb.is_empty()) {
            if feasible.is_empty() {
                break;
            }
            match extender.filter(&cx.pod.pod, feasible) {
                Ok(answer) => narrow(answer, feasible, diagnosis),
                Err(error) if extender.config.ignorable => extender.skip("filter", &error),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The weighted sum of the extenders' scores for each node; absent where none scores.
    #[must_use]
    pub fn scores(&self, cx: Context<'_>, nodes: &[&NodeInfo]) -> Option<(&'static str, Vec<i64>)> {
        let scoring = self.interested(&cx.pod.pod).filter(|e| !e.config.prioritize_verb.is_empty());
        let start = |extender: &'_ Extender| {
            let args = wire::args(&cx.pod.pod, nodes, extender.config.node_cache_capable);
            extender.transport.start(&extender.config.prioritize_verb, &args)
        };
        // All of them work at the same time.
        let calls: Vec<_> = scoring.map(|extender| (extender, start(extender))).collect();
        if calls.is_empty() {
            return None;
        }
        let mut sums = vec![0; nodes.len()];
        for (extender, call) in calls {
            match call.wait() {
                Ok(answer) => {
                    for (node, score) in wire::priorities(&answer) {
                        if let Some(at) = nodes.iter().position(|n| n.name() == node) {
                            sums[at] += score * extender.config.weight * (MAX_SCORE / MAX_PRIORITY);
                        }
                    }
                }
                Err(error) => extender.skip("prioritize", &error),
            }
        }
        Some((NAME, sums))
    }

    /// Lets the extenders choose among the nodes where victims were found.
    ///
    /// # Errors
    /// Where an extender that is not ignorable fails, or names no or unknown victims.
    pub fn preempt(
        &self,
        pod: &PodInfo,
        mut candidates: Vec<Sacrifice>,
        snapshot: &Snapshot,
    ) -> Result<Vec<Sacrifice>, String> {
        for extender in self.interested(&pod.pod).filter(|e| !e.config.preempt_verb.is_empty()) {
            if candidates.is_empty() {
                break;
            }
            match extender.preempt(pod, &candidates, snapshot) {
                Ok(left) => candidates = left,
                Err(error) if extender.config.ignorable => extender.skip("preempt", &error),
                Err(error) => return Err(error),
            }
        }
        Ok(candidates)
    }

    /// Lets an extender bind the pod; false where none does.
    ///
    /// # Errors
    /// Where the extender fails and is not ignorable.
    pub async fn bind(&self, pod: &PodInfo, node: &str) -> Result<bool, String> {
        for extender in self.interested(&pod.pod).filter(|e| !e.config.bind_verb.is_empty()) {
            let answer = extender.transport.call(&extender.config.bind_verb, &wire::binding_args(pod, node)).await;
            match answer.and_then(|answer| wire::error(&answer)) {
                Err(error) if extender.config.ignorable => extender.skip("bind", &error),
                outcome => return outcome.map(|()| true),
            }
        }
        Ok(false)
    }
}

impl Extender {
    fn is_interested(&self, pod: &Pod) -> bool {
        let uses = |container: &Container| {
            let resources = container.resources.iter();
            let mut names =
                resources.flat_map(|r| [&r.requests, &r.limits]).flatten().flat_map(|amounts| amounts.keys());
            names.any(|name| self.managed.contains(name))
        };
        let spec = pod.spec.iter();
        self.managed.is_empty()
            || spec.flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten())).any(uses)
    }

    fn skip(&self, doing: &str, error: &str) {
        tracing::info!(extender = self.config.url_prefix, doing, error, "going on without an extender that failed");
    }

    fn filter(&self, pod: &Pod, nodes: &[&NodeInfo]) -> Result<wire::Filtered, String> {
        let names_only = self.config.node_cache_capable;
        let answer = self.transport.start(&self.config.filter_verb, &wire::args(pod, nodes, names_only)).wait()?;
        wire::error(&answer)?;
        let filtered = wire::filtered(&answer, names_only);
        let stranger = filtered.nodes.iter().find(|name| nodes.iter().all(|node| node.name() != name.as_str()));
        match stranger {
            None => Ok(filtered),
            Some(name) => Err(format!(
                "extender {:?} claims a filtered node {name:?} which is not found in the input node list",
                self.config.url_prefix
            )),
        }
    }

    fn preempt(&self, pod: &PodInfo, candidates: &[Sacrifice], snapshot: &Snapshot) -> Result<Vec<Sacrifice>, String> {
        let given: Vec<_> = candidates.iter().map(|c| (c.node.as_str(), c.victims.as_slice(), c.violations)).collect();
        let args = wire::preemption_args(&pod.pod, &given, self.config.node_cache_capable);
        let answer = self.transport.start(&self.config.preempt_verb, &args).wait()?;
        let mut left = Vec::new();
        for (node, victims) in wire::victims(&answer) {
            if victims.pods.is_empty() {
                if self.config.ignorable {
                    continue;
                }
                return Err(format!("expected at least one victim pod on node {node:?}"));
            }
            let info = snapshot.node(&node).ok_or_else(|| format!("nodeinfo not found for node name {node:?}"))?;
            let find = |uid: &String| {
                info.pods.iter().find(|p| *p.uid == **uid).cloned().ok_or_else(|| {
                    let prefix = &self.config.url_prefix;
                    format!("extender: {prefix} claims to preempt pod (UID: {uid}) on node: {node}, but the pod is not found on that node")
                })
            };
            let pods = victims.pods.iter().map(find).collect::<Result<_, _>>()?;
            left.push(Sacrifice { node: node.clone(), victims: pods, violations: victims.violations });
        }
        Ok(left)
    }
}

/// Takes the nodes away that the extender refused.
fn narrow(answer: wire::Filtered, feasible: &mut Vec<&NodeInfo>, diagnosis: &mut Diagnosis) {
    let wire::Filtered { nodes, failed, unresolvable } = answer;
    for node in feasible.iter().filter(|node| !nodes.iter().any(|name| name == node.name())) {
        let refusal = match (unresolvable.get(node.name()), failed.get(node.name())) {
            (Some(why), _) => Refusal { code: Code::Unresolvable, reasons: vec![why.clone().into()].into() },
            (None, Some(why)) => Refusal { code: Code::Unschedulable, reasons: vec![why.clone().into()].into() },
            // The extender took the node away without a word.
            (None, None) => Refusal { code: Code::Unschedulable, reasons: Vec::new().into() },
        };
        diagnosis.refusals.push((node.slot, refusal));
        diagnosis.plugins.insert(NAME);
    }
    feasible.retain(|node| nodes.iter().any(|name| name == node.name()));
}
