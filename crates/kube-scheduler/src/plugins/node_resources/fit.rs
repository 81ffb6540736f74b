//! NodeResourcesFit: the node has room for the pod's requests; by default the emptier node is better.

use std::{borrow::Cow, sync::Arc};

use api_types::quantity::{Format, Quantity};
use serde::Deserialize;

use super::{
    super::dynamic_resources,
    strategy::{Strategy, StrategyArgs},
};
use crate::{
    cache::{NodeInfo, PodInfo, resources},
    framework::{
        ClusterEvent, Code, ConfigError, Context, CycleState, Descriptor, Lack, NodeFilter, NodeScorer, Plugin, Point,
        PreFilter, PreScore, Refusal, Signature,
    },
};

pub(in super::super) const DESCRIPTOR: Descriptor = Descriptor {
    name: "NodeResourcesFit",
    points: &[Point::PreFilter, Point::Filter, Point::PreScore, Point::Score],
    weight: 1,
    build,
};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct Args {
    ignored_resources: Vec<String>,
    ignored_resource_groups: Vec<String>,
    scoring_strategy: Option<StrategyArgs>,
}

struct Fit {
    ignored: Vec<String>,
    ignored_groups: Vec<String>,
    strategy: Strategy,
}

#[derive(Clone)]
struct Filter<'a> {
    pod: &'a PodInfo,
    fit: &'a Fit,
    /// Resources that a node need not offer itself: DynamicResources looks for devices.
    backed: Vec<Arc<str>>,
}

struct Scorer<'a> {
    pod: &'a PodInfo,
    strategy: &'a Strategy,
}

fn build(args: &serde_json::Value) -> Result<Arc<dyn Plugin>, ConfigError> {
    let args: Args = super::super::args("NodeResourcesFit", args)?;
    let strategy = Strategy::new(args.scoring_strategy.unwrap_or_default())
        .map_err(|message| ConfigError::Args { plugin: "NodeResourcesFit", message })?;
    Ok(Arc::new(Fit { ignored: args.ignored_resources, ignored_groups: args.ignored_resource_groups, strategy }))
}

impl Plugin for Fit {
    fn pre_filter<'a>(&'a self, cx: Context<'a>, _state: &mut CycleState) -> PreFilter<'a> {
        let backed = dynamic_resources::backed(cx.pod, &cx.snapshot.catalog).into_keys().collect();
        PreFilter::filter(Filter { pod: cx.pod, fit: self, backed })
    }

    fn pre_score<'a>(&'a self, cx: Context<'a>, _feasible: &[&'a NodeInfo]) -> PreScore<'a> {
        PreScore::score(Scorer { pod: cx.pod, strategy: &self.strategy })
    }

    fn hint(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        // Whether devices stand behind a resource is not known here.
        let extended: Vec<Arc<str>> = pod.requests.scalars.iter().map(|(name, _)| name.clone()).collect();
        let empty_fits = |node: &Arc<_>| self.shortfalls(pod, &NodeInfo::new(Arc::clone(node)), &extended).is_empty();
        match event {
            ClusterEvent::NodeAdded(node) => empty_fits(node),
            ClusterEvent::NodeUpdated(before, after) => {
                let allocatable = |node: &api_types::k8s_openapi::api::core::v1::Node| {
                    node.status.as_ref().and_then(|s| s.allocatable.clone())
                };
                allocatable(before) != allocatable(after) && empty_fits(after)
            }
            ClusterEvent::AssignedPodUpdated(before, after) => before.requests != after.requests,
            ClusterEvent::AssignedPodDeleted(_) | ClusterEvent::PodUpdated(..) => true,
            ClusterEvent::Other("DeviceClass") => !extended.is_empty(),
            ClusterEvent::AssignedPodAdded(_) | ClusterEvent::ClaimChanged { .. } | ClusterEvent::Other(_) => false,
        }
    }
}

/// A resource that the node has too little of.
struct Shortfall<'a> {
    reason: Cow<'static, str>,
    resource: &'a str,
    wanted: i64,
    free: i64,
    /// Even the empty node would not do.
    never_fits: bool,
}

impl Shortfall<'_> {
    fn lack(&self) -> Lack {
        let amount = |amount: i64| match self.resource {
            "cpu" => Quantity::from_millis(amount).to_string(),
            "memory" | "ephemeral-storage" => Quantity::from_units(amount, Format::BinarySi).to_string(),
            _ => amount.to_string(),
        };
        let missing = i128::from(self.wanted) - i128::from(self.free);
        Lack {
            what: self.resource.to_owned(),
            needed: amount(self.wanted),
            has: amount(self.free),
            missing: i64::try_from(missing * 1000 / i128::from(self.wanted.max(1))).unwrap_or(i64::MAX),
        }
    }
}

impl Fit {
    fn is_ignored(&self, name: &str) -> bool {
        let group = name.split('/').next().unwrap_or(name);
        resources::is_extended(name)
            && (self.ignored.iter().any(|n| n == name) || self.ignored_groups.iter().any(|g| g == group))
    }

    fn shortfalls<'p>(&self, pod: &'p PodInfo, node: &NodeInfo, backed: &[Arc<str>]) -> Vec<Shortfall<'p>> {
        let mut short = Vec::new();
        let mut need = |resource: &'p str, reason: Cow<'static, str>, wanted: i64, allocatable: i64, requested: i64| {
            let free = allocatable - requested;
            if wanted > 0 && wanted > free {
                short.push(Shortfall { reason, resource, wanted, free, never_fits: wanted > allocatable });
            }
        };
        let (want, have, used) = (&pod.requests, &node.allocatable, &node.requested);
        need("pods", Cow::Borrowed("Too many pods"), 1, node.allowed_pods, node.pods.len() as i64);
        need("cpu", Cow::Borrowed("Insufficient cpu"), want.milli_cpu, have.milli_cpu, used.milli_cpu);
        need("memory", Cow::Borrowed("Insufficient memory"), want.memory, have.memory, used.memory);
        let storage = (want.ephemeral_storage, have.ephemeral_storage, used.ephemeral_storage);
        need("ephemeral-storage", Cow::Borrowed("Insufficient ephemeral-storage"), storage.0, storage.1, storage.2);
        for (name, wanted) in want.scalars.iter().filter(|(name, _)| !self.is_ignored(name)) {
            if have.scalar(name) == 0 && backed.contains(name) {
                continue;
            }
            let (have, used) = (have.scalar(name), used.scalar(name));
            if *wanted > 0 && *wanted > have - used {
                need(name, Cow::Owned(format!("Insufficient {name}")), *wanted, have, used);
            }
        }
        short
    }
}

impl<'a> NodeFilter<'a> for Filter<'a> {
    fn check(&self, node: &NodeInfo) -> Result<(), Refusal> {
        let short = self.fit.shortfalls(self.pod, node, &self.backed);
        if short.is_empty() {
            return Ok(());
        }
        let never = short.iter().any(|s| s.never_fits);
        let code = if never { Code::Unresolvable } else { Code::Unschedulable };
        Err(Refusal { code, reasons: short.into_iter().map(|s| s.reason).collect() })
    }

    fn lacks(&self, node: &NodeInfo) -> Vec<Lack> {
        self.fit.shortfalls(self.pod, node, &self.backed).iter().map(Shortfall::lack).collect()
    }

    fn sign(&self, signature: &mut Signature) -> bool {
        signature.add((&self.pod.requests, &self.backed));
        true
    }

    fn boxed(&self) -> Box<dyn NodeFilter<'a> + 'a> {
        Box::new(self.clone())
    }
}

impl NodeScorer for Scorer<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        self.strategy.score(self.pod, node)
    }

    fn sign(&self, signature: &mut Signature) -> bool {
        signature.add((&self.pod.requests, &self.pod.non_zero));
        true
    }
}
