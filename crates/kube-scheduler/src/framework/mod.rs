//! The scheduling framework: what a plugin may do, and when it is asked.
//!
//! A decision asks every enabled plugin for a *filter* made for the pod at hand (`PreFilter`), runs the filters over nodes,
//! asks for a *scorer* made for the pod (`PreScore`), and scores the nodes that are left. What a plugin works out for the pod
//! lives in the filter or scorer that it hands out. What later points need goes through [`CycleState`]. Plugins get no client: whatever must be written is
//! returned as data, and written by the binder.

mod permit;
mod profile;
mod refusal;
mod signature;
mod write;

use std::{
    any::Any,
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use api_types::k8s_openapi::api::{
    core::v1::{Node, Pod},
    resource::v1::ResourceClaim,
};

pub(crate) use permit::End;
pub use permit::{Permit, Verdicts, WaitingPod, WaitingPods};
pub use profile::{ConfigError, Profile, Registry};
pub use refusal::{Code, Diagnosis, Reasons, Refusal};
pub use signature::Signature;
pub(crate) use write::{Assumed, EXTENDED_CLAIM, claim_key, extended_key, extended_key_of};
pub use write::{Planned, Write};

use crate::{
    cache::{NodeInfo, PodInfo, Snapshot, catalog::Catalog},
    extender::Extenders,
};

/// The highest score that a plugin gives after normalising.
pub const MAX_SCORE: i64 = 100;

/// Where plugins are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    /// Whether the pod may wait in the active queue at all.
    PreEnqueue,
    /// Which of two waiting pods goes first.
    QueueSort,
    /// What about the pod can be worked out before looking at nodes.
    PreFilter,
    /// Which nodes can run the pod.
    Filter,
    /// What can be done when none can.
    PostFilter,
    /// What about the nodes that are left can be worked out together.
    PreScore,
    /// How good a node is.
    Score,
    /// Taking what the pod needs, in memory.
    Reserve,
    /// Waiting for others.
    Permit,
    /// What must be written before the binding.
    PreBind,
    /// Writing the binding.
    Bind,
    /// Hearing of a binding.
    PostBind,
}

/// What a decision is about.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The cluster.
    pub snapshot: &'a Snapshot,
    /// The pod that looks for a node.
    pub pod: &'a PodInfo,
}

/// What a plugin says before any node is looked at.
pub enum PreFilter<'a> {
    /// The pod does not concern the plugin.
    Skip,
    /// Nodes must be asked.
    Filter(Box<dyn NodeFilter<'a> + 'a>),
    /// Only these nodes (by name) come into question, and they must be asked.
    Narrow(BTreeSet<String>, Box<dyn NodeFilter<'a> + 'a>),
    /// No node will do.
    Refuse(Refusal),
}

impl<'a> PreFilter<'a> {
    /// Nodes must be asked.
    pub fn filter(filter: impl NodeFilter<'a> + 'a) -> Self {
        PreFilter::Filter(Box::new(filter))
    }
}

/// A plugin's judgement of nodes for one pod.
pub trait NodeFilter<'a>: Send + Sync {
    /// Whether the node can run the pod.
    ///
    /// # Errors
    /// Says why it cannot.
    fn check(&self, node: &NodeInfo) -> Result<(), Refusal>;

    /// What the node lacks that is refused, for those who ask.
    fn lacks(&self, _node: &NodeInfo) -> Vec<Lack> {
        Vec::new()
    }

    /// Adds what of the pod the verdict depends on beside the node, pods on it included. False where it depends on more; a filter
    /// that signs has nothing to count in [`Self::add_pod`].
    fn sign(&self, _signature: &mut Signature) -> bool {
        false
    }

    /// Counts another pod as running on the node, as a dry run.
    fn add_pod(&mut self, _pod: &PodInfo, _node: &NodeInfo) {}

    /// Counts a pod as gone from the node, as a dry run.
    fn remove_pod(&mut self, _pod: &PodInfo, _node: &NodeInfo) {}

    /// A copy for a dry run.
    fn boxed(&self) -> Box<dyn NodeFilter<'a> + 'a>;
}

/// Something that a node lacks for a pod.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lack {
    /// What it is about: a resource, a port, a label.
    pub what: String,
    /// What the pod needs.
    pub needed: String,
    /// What the node has.
    pub has: String,
    /// How much is missing, in thousandths of what is needed.
    pub missing: i64,
}

impl Lack {
    /// Something that is there or not.
    #[must_use]
    pub fn whole(what: String, needed: impl Into<String>, has: impl Into<String>) -> Self {
        Lack { what, needed: needed.into(), has: has.into(), missing: 1000 }
    }
}

/// What a plugin says before nodes are scored.
pub enum PreScore<'a> {
    /// Every node is as good as any other.
    Skip,
    /// Nodes must be scored.
    Score(Box<dyn NodeScorer + 'a>),
}

impl<'a> PreScore<'a> {
    /// Nodes must be scored.
    pub fn score(scorer: impl NodeScorer + 'a) -> Self {
        PreScore::Score(Box::new(scorer))
    }
}

/// A plugin's preference among nodes for one pod.
pub trait NodeScorer: Send + Sync {
    /// The node's raw score.
    fn score(&self, node: &NodeInfo) -> i64;

    /// Adds what of the pod the raw score depends on beside the node. False where it depends on more.
    fn sign(&self, _signature: &mut Signature) -> bool {
        false
    }

    /// Brings the raw scores of `nodes` into 0..=[`MAX_SCORE`].
    fn normalize(&self, _scores: &mut [i64], _nodes: &[&NodeInfo]) {}
}

/// Scales scores so that the highest is [`MAX_SCORE`]; `reverse` makes the lowest raw score the best.
pub fn normalize_by_highest(scores: &mut [i64], reverse: bool) {
    let highest = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        let scaled = if highest == 0 { 0 } else { MAX_SCORE * *score / highest };
        *score = if reverse { MAX_SCORE - scaled } else { scaled };
    }
}

/// What plugins keep of a decision for its later points, by the plugin's name.
#[derive(Default)]
pub struct CycleState(BTreeMap<&'static str, Box<dyn Any + Send + Sync>>);

impl CycleState {
    /// Keeps a plugin's data.
    pub fn write<T: Any + Send + Sync>(&mut self, plugin: &'static str, data: T) {
        self.0.insert(plugin, Box::new(data));
    }

    /// A plugin's data.
    #[must_use]
    pub fn read<T: Any>(&self, plugin: &str) -> Option<&T> {
        self.0.get(plugin)?.downcast_ref()
    }
}

/// What to do for a pod that fits nowhere.
#[derive(Default)]
pub struct PostFilter {
    /// Evict these and wait for the node.
    pub preemption: Option<Preemption>,
    /// Take this claim's devices away, so that others may be chosen.
    pub deallocate: Option<Arc<ResourceClaim>>,
    /// Whether an earlier nomination of a node is void.
    pub clear_nomination: bool,
    /// What the event and the condition say of it.
    pub message: Cow<'static, str>,
}

/// Making room on a node.
#[derive(Clone, Debug)]
pub struct Preemption {
    /// The node.
    pub node: String,
    /// The pods to evict, the most important first.
    pub victims: Vec<Arc<PodInfo>>,
}

/// What a plugin sees of a failed decision.
pub struct Failed<'f, 'a> {
    /// What the decision was about.
    pub cx: Context<'a>,
    /// The filters, to be asked again about nodes with fewer pods.
    pub filters: &'f FilterSet<'a>,
    /// Why each node was refused.
    pub diagnosis: &'f Diagnosis,
    /// Programs that have a say in the choice of victims.
    pub extenders: &'f Extenders,
}

/// A change in the cluster that may let a refused pod fit.
#[derive(Clone, Debug)]
pub enum ClusterEvent {
    /// A node came.
    NodeAdded(Arc<Node>),
    /// A node changed: before, after.
    NodeUpdated(Arc<Node>, Arc<Node>),
    /// A pod on a node came, or was bound elsewhere.
    AssignedPodAdded(Arc<PodInfo>),
    /// A pod on a node changed: before, after.
    AssignedPodUpdated(Arc<PodInfo>, Arc<PodInfo>),
    /// A pod left its node.
    AssignedPodDeleted(Arc<PodInfo>),
    /// The waiting pod itself changed: before, after.
    PodUpdated(Arc<Pod>, Arc<Pod>),
    /// A resource claim changed: before and after, where it was there.
    ClaimChanged {
        /// Before.
        before: Option<Arc<ResourceClaim>>,
        /// After.
        after: Option<Arc<ResourceClaim>>,
    },
    /// Another object changed; its kind.
    Other(&'static str),
}

/// A plugin: a rule of placement. Asked only at the points that its [`Descriptor`] names.
pub trait Plugin: Send + Sync + 'static {
    /// Whether the pod may enter the active queue.
    ///
    /// # Errors
    /// Says why it may not.
    fn pre_enqueue(&self, _pod: &PodInfo, _catalog: &Catalog) -> Result<(), Refusal> {
        Ok(())
    }

    /// The filter for the pod.
    fn pre_filter<'a>(&'a self, _cx: Context<'a>, _state: &mut CycleState) -> PreFilter<'a> {
        PreFilter::Skip
    }

    /// What to do for a pod that fits nowhere.
    fn post_filter(&self, _failed: &Failed<'_, '_>) -> PostFilter {
        PostFilter::default()
    }

    /// The scorer for the pod among the nodes that can run it.
    fn pre_score<'a>(&'a self, _cx: Context<'a>, _feasible: &[&'a NodeInfo]) -> PreScore<'a> {
        PreScore::Skip
    }

    /// What must be written before the pod is bound to the node.
    ///
    /// # Errors
    /// Says why the pod cannot be bound there after all.
    fn reserve(&self, _cx: Context<'_>, _state: &CycleState, _node: &NodeInfo) -> Result<Vec<Write>, Refusal> {
        Ok(Vec::new())
    }

    /// How long what [`Self::reserve`] wants written may take to come true.
    fn patience(&self) -> Duration {
        Duration::from_secs(600)
    }

    /// Whether the pod, which has its node and what it reserved, may be bound; and what the plugin has to say of pods that it made
    /// wait earlier.
    fn permit(&self, _cx: Context<'_>, _node: &str, _waiting: &WaitingPods) -> (Permit, Verdicts) {
        (Permit::Allow, Verdicts::default())
    }

    /// Hears that the pod is not going to its node after all. What [`Self::reserve`] returned is taken back without it.
    fn unreserve(&self, _pod: &PodInfo, _node: &str, _waiting: &WaitingPods) -> Verdicts {
        Verdicts::default()
    }

    /// Hears that the pod was bound.
    fn post_bind(&self, _pod: &PodInfo, _node: &str) {}

    /// Whether the event may let a pod fit that this plugin refused.
    fn hint(&self, _pod: &PodInfo, _event: &ClusterEvent) -> bool {
        true
    }
}

/// One line of the table of plugins.
#[derive(Debug)]
pub struct Descriptor {
    /// Upstream's name of it.
    pub name: &'static str,
    /// Where it is asked.
    pub points: &'static [Point],
    /// What its scores weigh by default.
    pub weight: i64,
    /// Makes it from its arguments in the configuration (`Null` where there are none).
    pub build: fn(&serde_json::Value) -> Result<Arc<dyn Plugin>, ConfigError>,
}

/// The filters of one decision, in the order of the profile.
pub struct FilterSet<'a> {
    filters: Vec<(&'static str, Box<dyn NodeFilter<'a> + 'a>)>,
}

impl<'a> FilterSet<'a> {
    /// No filters yet.
    #[must_use]
    pub fn new() -> Self {
        FilterSet { filters: Vec::new() }
    }

    /// Adds a plugin's filter.
    pub fn push(&mut self, plugin: &'static str, filter: Box<dyn NodeFilter<'a> + 'a>) {
        self.filters.push((plugin, filter));
    }

    /// Asks the filters one by one, until one refuses.
    ///
    /// # Errors
    /// The name of the plugin that refused, and why.
    pub fn check(&self, node: &NodeInfo) -> Result<(), (&'static str, Refusal)> {
        self.check_part(0..self.filters.len(), node)
    }

    /// Asks some of the filters, by their places.
    ///
    /// # Errors
    /// The name of the plugin that refused, and why.
    pub fn check_part(&self, part: Range<usize>, node: &NodeInfo) -> Result<(), (&'static str, Refusal)> {
        let filters = &self.filters[part];
        filters.iter().try_for_each(|(plugin, filter)| filter.check(node).map_err(|refusal| (*plugin, refusal)))
    }

    /// Every filter that refuses the node, why, and what is lacking.
    pub fn verdicts(&self, node: &NodeInfo) -> impl Iterator<Item = (&'static str, Refusal, Vec<Lack>)> {
        self.filters.iter().filter_map(|(plugin, filter)| {
            filter.check(node).err().map(|refusal| (*plugin, refusal, filter.lacks(node)))
        })
    }

    /// Whether no verdict depends on more than the pod and the node, so that dry runs elsewhere leave no trace in the filters.
    #[must_use]
    pub fn sees_nodes_alone(&self) -> bool {
        self.sign(&mut Signature::default()) == self.len()
    }

    /// How many filters there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.filters.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Signs for the filters before the first one whose verdict depends on more than the pod and the node; how many these are.
    pub fn sign(&self, signature: &mut Signature) -> usize {
        let mut signed = 0;
        for (plugin, filter) in &self.filters {
            signature.add(plugin);
            if !filter.sign(signature) {
                break;
            }
            signed += 1;
        }
        signed
    }

    /// Asks the filters as if the pods that wait for room on this node, and matter at least as much, ran there; and also without them.
    ///
    /// # Errors
    /// The name of the plugin that refused, and why.
    pub fn check_with_nominated(&self, cx: Context<'_>, node: &NodeInfo) -> Result<(), (&'static str, Refusal)> {
        let waiting = cx.snapshot.nominated.get(node.name()).map(Vec::as_slice).unwrap_or_default();
        let mut ahead = waiting.iter().filter(|p| p.priority >= cx.pod.priority && p.uid != cx.pod.uid).peekable();
        if ahead.peek().is_some() {
            let (mut filters, mut crowded) = (self.clone(), node.clone());
            for pod in ahead {
                crowded.add_pod(pod.clone());
                filters.add_pod(pod, &crowded);
            }
            filters.check(&crowded)?;
        }
        self.check(node)
    }

    /// Counts another pod as running on the node.
    pub fn add_pod(&mut self, pod: &PodInfo, node: &NodeInfo) {
        for (_, filter) in &mut self.filters {
            filter.add_pod(pod, node);
        }
    }

    /// Counts a pod as gone from the node.
    pub fn remove_pod(&mut self, pod: &PodInfo, node: &NodeInfo) {
        for (_, filter) in &mut self.filters {
            filter.remove_pod(pod, node);
        }
    }
}

impl Default for FilterSet<'_> {
    fn default() -> Self {
        FilterSet::new()
    }
}

impl Clone for FilterSet<'_> {
    fn clone(&self) -> Self {
        FilterSet { filters: self.filters.iter().map(|(plugin, filter)| (*plugin, filter.boxed())).collect() }
    }
}
