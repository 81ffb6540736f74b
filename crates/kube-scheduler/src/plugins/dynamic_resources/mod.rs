//! DynamicResources: devices through resource claims (structured parameters, `resource.k8s.io/v1`).
//!
//! A pod's claims are allocated together, for one node, when the pod is placed: the allocation is kept in memory until the binder
//! has written it. What is allocated already ties the pod to the nodes that reach the devices.

mod allocator;
mod capacity;
mod claims;
mod constraints;
mod extended;
mod needs;
mod pools;
mod result;
mod selectors;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, sync::Arc, time::Duration};

use api_types::k8s_openapi::api::resource::v1::ResourceClaim;
use component_helpers::node_affinity;
use serde::Deserialize;

use allocator::{Chosen, Failure, Input};
pub(super) use extended::backed;
use extended::{Backed, Extended};
use needs::{ClaimNeeds, Taken, Trouble};
use pools::Pools;
use selectors::Compiled;

use crate::{
    cache::{NodeInfo, PodInfo, catalog::Catalog},
    framework::{
        ClusterEvent, Code, ConfigError, Context, CycleState, Descriptor, Failed, NodeFilter, NodeScorer, Plugin,
        Point, PostFilter, PreFilter, PreScore, Refusal, Write, normalize_by_highest,
    },
};

pub(super) const DESCRIPTOR: Descriptor = Descriptor {
    name: "DynamicResources",
    points: &[
        Point::PreEnqueue,
        Point::PreFilter,
        Point::Filter,
        Point::PostFilter,
        Point::PreScore,
        Point::Score,
        Point::Reserve,
        Point::PreBind,
    ],
    weight: 2,
    build,
};

const ELSEWHERE: Refusal =
    Refusal::fixed(Code::Unresolvable, &[Cow::Borrowed("resourceclaim not available on the node")]);
const LEFT_OVER: Refusal =
    Refusal::fixed(Code::Unresolvable, &[Cow::Borrowed("cannot schedule extended resource claim")]);
const NO_DEVICES: Refusal = Refusal::fixed(Code::Unresolvable, &[Cow::Borrowed("cannot allocate all claims")]);
/// The best alternative of a request scores so much, the next one less by one.
const BEST_ALTERNATIVE: usize = 8;

/// `filterTimeout` is accepted: a search is bounded by its steps, so that the same question has the same answer on every machine.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct Args {
    #[serde(rename = "filterTimeout")]
    _filter_timeout: String,
    binding_timeout: String,
}

impl Default for Args {
    fn default() -> Self {
        Args { _filter_timeout: String::new(), binding_timeout: "600s".to_owned() }
    }
}

struct DynamicResources {
    compiled: Compiled,
    patience: Duration,
}

fn build(args: &serde_json::Value) -> Result<Arc<dyn Plugin>, ConfigError> {
    let args: Args = super::args("DynamicResources", args)?;
    let patience = component_base::duration::parse_duration(&args.binding_timeout);
    let patience = patience.map_err(|error| ConfigError::Args {
        plugin: "DynamicResources",
        message: format!("bindingTimeout: {error}"),
    })?;
    Ok(Arc::new(DynamicResources { compiled: Compiled::default(), patience }))
}

impl From<Trouble> for Refusal {
    fn from(trouble: Trouble) -> Refusal {
        let (code, reason) = match trouble {
            Trouble::Unschedulable(reason) => (Code::Unresolvable, reason),
            Trouble::Error(reason) => (Code::Error, reason),
        };
        Refusal { code, reasons: vec![reason.into()].into() }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        match failure {
            Failure::None => NO_DEVICES,
            Failure::Node(reason) => Refusal::unresolvable(reason),
            Failure::Error(reason) => Trouble::Error(reason).into(),
        }
    }
}

/// What a pod needs of devices, whatever the node.
struct Plan<'a> {
    pod: &'a PodInfo,
    /// All claims of the pod.
    claims: Vec<&'a Arc<ResourceClaim>>,
    /// Those without devices, in the order of [`Self::claims`].
    needs: Vec<ClaimNeeds<'a>>,
    /// The classes behind extended resources of the pod.
    backed: Backed<'a>,
    /// A claim for these that an attempt left behind.
    left_over: Option<&'a Arc<ResourceClaim>>,
    pools: Pools<'a>,
    taken: Taken<'a>,
    compiled: &'a Compiled,
}

impl<'a> Plan<'a> {
    /// The plan; nothing for a pod without claims.
    fn new(cx: Context<'a>, compiled: &'a Compiled) -> Result<Option<Self>, Trouble> {
        let catalog = &cx.snapshot.catalog;
        let (claims, needs) = Self::needs(cx)?;
        let backed = extended::backed(cx.pod, catalog);
        if claims.is_empty() && backed.is_empty() {
            return Ok(None);
        }
        let (pools, taken) = if needs.is_empty() && backed.is_empty() {
            (Pools::new(std::iter::empty()), Taken::default())
        } else {
            (Pools::new(catalog.resource_slices.values().map(|slice| &**slice)), Taken::new(catalog))
        };
        let left_over = if backed.is_empty() { None } else { extended::left_over(cx.pod, catalog) };
        Ok(Some(Plan { pod: cx.pod, claims, needs, backed, left_over, pools, taken, compiled }))
    }

    /// The pod's claims, and what those want that have no devices.
    fn needs(cx: Context<'a>) -> Result<(Vec<&'a Arc<ResourceClaim>>, Vec<ClaimNeeds<'a>>), Trouble> {
        let catalog = &cx.snapshot.catalog;
        let claims = claims::of_pod(cx.pod, catalog).map_err(Trouble::Unschedulable)?;
        let mut needs = Vec::new();
        for claim in &claims {
            if claims::is_allocated(claim) {
                if !claims::has_room(claim) && !claims::is_reserved_for(claim, cx.pod) {
                    return Err(Trouble::Unschedulable("resourceclaim in use".to_owned()));
                }
                continue;
            }
            let key = needs::key(claim);
            if catalog.allocating.contains_key(&key) {
                let reason = format!("resource claim {key} is in the process of being allocated");
                return Err(Trouble::Unschedulable(reason));
            }
            needs.push(ClaimNeeds::new(claim, catalog)?);
        }
        Ok((claims, needs))
    }

    /// The devices that the node can give to the claims without any; last, those for extended resources that it does not offer itself.
    fn allocate(&self, node: &NodeInfo) -> Result<Vec<Vec<Chosen<'a>>>, Refusal> {
        let more = Extended::new(self.pod, &self.backed, node).map(|extended| extended.needs(self.pod));
        let needs: Vec<&ClaimNeeds<'a>> = self.needs.iter().chain(&more).collect();
        if needs.is_empty() {
            return Ok(Vec::new());
        }
        let Plan { pools, taken, compiled, .. } = self;
        Ok(allocator::allocate(&Input { claims: &needs, pools, taken, compiled }, node)?)
    }

    fn check(&self, node: &NodeInfo) -> Result<Vec<Vec<Chosen<'a>>>, Refusal> {
        if self.left_over.is_some() {
            return Err(LEFT_OVER);
        }
        let chosen = self.allocate(node)?;
        if self.claims.iter().all(|claim| reaches(claim, node)) { Ok(chosen) } else { Err(ELSEWHERE) }
    }

    /// What must be written before the pod is bound to the node.
    fn writes(&self, node: &NodeInfo) -> Result<Vec<Write>, Refusal> {
        let chosen = self.check(node)?;
        let made = self.needs.iter().zip(&chosen);
        let mut made = made.map(|(needs, chosen)| result::allocation(needs, chosen, node.name()));
        let unreserved = self.claims.iter().filter(|claim| !claims::is_reserved_for(claim, self.pod));
        let write = |claim: &&Arc<ResourceClaim>| {
            let allocation = if claims::is_allocated(claim) { None } else { made.next().map(Box::new) };
            Write::UseClaim { claim: Arc::clone(claim), allocation }
        };
        let mut writes: Vec<Write> = unreserved.map(write).collect();
        if let Some(extended) = Extended::new(self.pod, &self.backed, node)
            && let Some(chosen) = chosen.last()
        {
            let allocation = result::allocation(&extended.needs(self.pod), chosen, node.name());
            writes.push(Write::MakeClaim {
                claim: Box::new(extended.claim(self.pod)),
                allocation: Box::new(allocation),
                mappings: extended.mappings,
            });
        }
        Ok(writes)
    }
}

/// Whether the node reaches the devices that the claim has.
fn reaches(claim: &ResourceClaim, node: &NodeInfo) -> bool {
    let allocation = claim.status.as_ref().and_then(|s| s.allocation.as_ref());
    let selector = allocation.and_then(|a| a.node_selector.as_ref());
    selector.is_none_or(|selector| node_affinity::selector_matches(selector, &node.node))
}

#[derive(Clone)]
struct Filter<'a>(Arc<Plan<'a>>);

impl<'a> NodeFilter<'a> for Filter<'a> {
    fn check(&self, node: &NodeInfo) -> Result<(), Refusal> {
        self.0.check(node).map(drop)
    }

    fn boxed(&self) -> Box<dyn NodeFilter<'a> + 'a> {
        Box::new(self.clone())
    }
}

/// Nodes that give the better alternatives are better.
struct Scorer<'a>(Option<Plan<'a>>);

impl NodeScorer for Scorer<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let Some(plan) = &self.0 else { return 0 };
        let Ok(chosen) = plan.allocate(node) else { return 0 };
        let mut score = 0;
        for (needs, chosen) in plan.needs.iter().zip(&chosen) {
            for (request, _) in needs.requests.iter().enumerate().filter(|(_, options)| options.len() > 1) {
                let option = chosen.iter().find(|c| c.request.0 == request).map(|c| c.request.1);
                score += option.map_or(0, |option| BEST_ALTERNATIVE.saturating_sub(option));
            }
        }
        i64::try_from(score).unwrap_or(i64::MAX)
    }

    fn normalize(&self, scores: &mut [i64], _nodes: &[&NodeInfo]) {
        normalize_by_highest(scores, false);
    }
}

impl Plugin for DynamicResources {
    fn pre_enqueue(&self, pod: &PodInfo, catalog: &Catalog) -> Result<(), Refusal> {
        claims::of_pod(pod, catalog).map(drop).map_err(Refusal::unresolvable)
    }

    fn pre_filter<'a>(&'a self, cx: Context<'a>, _state: &mut CycleState) -> PreFilter<'a> {
        match Plan::new(cx, &self.compiled) {
            Ok(None) => PreFilter::Skip,
            Ok(Some(plan)) => PreFilter::filter(Filter(Arc::new(plan))),
            Err(trouble) => PreFilter::Refuse(trouble.into()),
        }
    }

    /// A claim that ties the pod to nodes where it does not fit, and that nobody else uses, is given up.
    fn post_filter(&self, failed: &Failed<'_, '_>) -> PostFilter {
        let say = |message: &'static str| PostFilter { message: Cow::Borrowed(message), ..PostFilter::default() };
        let claims = match Plan::new(failed.cx, &self.compiled) {
            Ok(Some(Plan { left_over: Some(claim), .. })) => {
                let claim = Some(Arc::clone(claim));
                return PostFilter { deallocate: claim, ..say("deletion of ResourceClaim completed") };
            }
            Ok(Some(plan)) => plan.claims,
            Ok(None) | Err(_) => return say("no new claims to deallocate"),
        };
        let refused = failed.diagnosis.refusals.iter().filter(|(_, refusal)| *refusal == ELSEWHERE);
        let nodes: Vec<&NodeInfo> = refused.filter_map(|(slot, _)| failed.cx.snapshot.at(*slot)).collect();
        let only_ours = |claim: &ResourceClaim| {
            claims::users(claim).is_empty()
                || (claims::users(claim).len() == 1 && claims::is_reserved_for(claim, failed.cx.pod))
        };
        let in_the_way =
            |claim: &&&Arc<ResourceClaim>| only_ours(claim) && nodes.iter().any(|node| !reaches(claim, node));
        match claims.iter().find(in_the_way) {
            None => say("still not schedulable"),
            Some(claim) => {
                PostFilter { deallocate: Some(Arc::clone(claim)), ..say("deallocation of ResourceClaim completed") }
            }
        }
    }

    fn pre_score<'a>(&'a self, cx: Context<'a>, _feasible: &[&'a NodeInfo]) -> PreScore<'a> {
        // Where there is nothing to choose from, the slices need not be looked at again.
        let choice = |needs: &ClaimNeeds<'_>| needs.requests.iter().any(|options| options.len() > 1);
        let has_choice = Plan::needs(cx).is_ok_and(|(_, needs)| needs.iter().any(choice));
        PreScore::score(Scorer(if has_choice { Plan::new(cx, &self.compiled).ok().flatten() } else { None }))
    }

    fn reserve(&self, cx: Context<'_>, _state: &CycleState, node: &NodeInfo) -> Result<Vec<Write>, Refusal> {
        Plan::new(cx, &self.compiled)?.map_or(Ok(Vec::new()), |plan| plan.writes(node))
    }

    fn patience(&self) -> Duration {
        self.patience
    }

    fn hint(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::NodeAdded(_) => true,
            ClusterEvent::NodeUpdated(before, after) => before.metadata.labels != after.metadata.labels,
            ClusterEvent::Other(kind) => matches!(*kind, "DeviceClass" | "ResourceSlice"),
            ClusterEvent::ClaimChanged { before, after } => claim_helps(pod, before.as_deref(), after.as_deref()),
            ClusterEvent::PodUpdated(before, after) => {
                let statuses = |pod: &api_types::k8s_openapi::api::core::v1::Pod| {
                    pod.status.as_ref().and_then(|s| s.resource_claim_statuses.clone())
                };
                statuses(before) != statuses(after)
            }
            _ => false,
        }
    }
}

/// Devices that become free help everybody, everything else only the pods of that claim.
fn claim_helps(pod: &PodInfo, before: Option<&ResourceClaim>, after: Option<&ResourceClaim>) -> bool {
    let freed = before.is_some_and(claims::is_allocated) && !after.is_some_and(claims::is_allocated);
    let Some(claim) = after else { return freed };
    let ours = claim.metadata.namespace.as_deref() == Some(pod.namespace())
        && uses(pod, claim.metadata.name.as_deref().unwrap_or_default());
    freed || (ours && before.is_none_or(|before| before.status != claim.status))
}

/// Whether the pod names the claim, itself or in its status.
fn uses(pod: &PodInfo, name: &str) -> bool {
    let named = pod.spec().iter().any(|spec| {
        spec.resource_claims.iter().flatten().any(|claim| claim.resource_claim_name.as_deref() == Some(name))
    });
    named
        || pod.pod.status.iter().any(|status| {
            status.resource_claim_statuses.iter().flatten().any(|s| s.resource_claim_name.as_deref() == Some(name))
        })
}
