//! VolumeBinding: a pod's claims are, or can be, bound to volumes that its node reaches.

mod find;

use std::{borrow::Cow, collections::BTreeMap, sync::Arc, time::Duration};

use api_types::k8s_openapi::api::core::v1::{NodeSelector, PersistentVolume, PersistentVolumeClaim};
use component_helpers::node_affinity;
use serde::Deserialize;

use crate::{
    cache::{CompiledSelector, NodeInfo, PodInfo},
    framework::{
        ClusterEvent, Code, ConfigError, Context, CycleState, Descriptor, NodeFilter, Plugin, Point, PreFilter,
        Refusal, Write,
    },
};

pub(super) const DESCRIPTOR: Descriptor = Descriptor {
    name: "VolumeBinding",
    points: &[Point::PreFilter, Point::Filter, Point::Reserve, Point::PreBind],
    weight: 0,
    build,
};

const IMMEDIATE: Refusal =
    Refusal::fixed(Code::Unresolvable, &[Cow::Borrowed("pod has unbound immediate PersistentVolumeClaims")]);
const NODE_CONFLICT: Refusal =
    Refusal::fixed(Code::Unresolvable, &[Cow::Borrowed("node(s) didn't match PersistentVolume's node affinity")]);
const BIND_CONFLICT: Refusal =
    Refusal::fixed(Code::Unresolvable, &[Cow::Borrowed("node(s) didn't find available persistent volumes to bind")]);
const NO_SPACE: Refusal =
    Refusal::fixed(Code::Unresolvable, &[Cow::Borrowed("node(s) did not have enough free storage")]);
const NO_VOLUME: Refusal = Refusal::fixed(
    Code::Unresolvable,
    &[Cow::Borrowed("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)")],
);

const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct Args {
    bind_timeout_seconds: u64,
}

impl Default for Args {
    fn default() -> Self {
        Args { bind_timeout_seconds: 600 }
    }
}

struct VolumeBinding {
    patience: Duration,
}

fn build(args: &serde_json::Value) -> Result<Arc<dyn Plugin>, ConfigError> {
    let args: Args = super::args("VolumeBinding", args)?;
    Ok(Arc::new(VolumeBinding { patience: Duration::from_secs(args.bind_timeout_seconds) }))
}

/// A claim that the pod uses.
pub(super) struct Claim<'a> {
    /// Its name.
    name: String,
    /// `namespace/name`.
    pub(super) key: String,
    /// The object, where it exists.
    pub(super) object: Option<&'a PersistentVolumeClaim>,
    /// Whether the claim comes from an ephemeral volume, so that the pod must own it.
    ephemeral: bool,
}

/// The claims of the pod's volumes.
pub(super) fn claims<'a>(cx: Context<'a>) -> Vec<Claim<'a>> {
    let volumes = cx.pod.spec().and_then(|s| s.volumes.as_deref()).unwrap_or_default();
    let named = volumes.iter().filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some((claim.claim_name.clone(), false)),
        (None, Some(_)) => Some((format!("{}-{}", cx.pod.name(), volume.name), true)),
        (None, None) => None,
    });
    named
        .map(|(name, ephemeral)| {
            let key = format!("{}/{name}", cx.pod.namespace());
            Claim { object: cx.snapshot.catalog.claims.get(&key).map(|c| &**c), name, key, ephemeral }
        })
        .collect()
}

/// A pod's claims, sorted by what must be done for them.
#[derive(Clone, Default)]
struct Filter<'a> {
    cx: Option<Context<'a>>,
    /// What the bound volumes ask of the node; nothing known of a volume that does not exist.
    bound: Vec<Option<Reach>>,
    delayed: Vec<(String, &'a PersistentVolumeClaim)>,
}

/// From where a volume is reached: from everywhere where it does not say.
type Reach = Option<Arc<CompiledSelector>>;

fn reach(cx: Context<'_>, volume: &PersistentVolume) -> Reach {
    required(volume).map(|selector| Arc::new(CompiledSelector::new(cx.snapshot, selector)))
}

fn annotation<'a>(claim: &'a PersistentVolumeClaim, name: &str) -> Option<&'a str> {
    claim.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

impl<'a> Filter<'a> {
    fn new(cx: Context<'a>) -> Result<Option<Self>, Refusal> {
        let all = claims(cx);
        if all.is_empty() {
            return Ok(None);
        }
        let mut filter = Filter { cx: Some(cx), ..Filter::default() };
        let mut immediate = false;
        for claim in all {
            let object = existing(cx, &claim)?;
            let spec = object.spec.as_ref();
            let volume = spec.and_then(|s| s.volume_name.clone()).filter(|v| !v.is_empty());
            match volume {
                Some(volume) if annotation(object, BIND_COMPLETED).is_some() => {
                    let found = cx.snapshot.catalog.volumes.get(&volume);
                    filter.bound.push(found.map(|volume| reach(cx, volume)));
                }
                _ if find::is_delayed(cx, object)
                    && spec.is_some_and(|s| s.volume_name.as_deref().unwrap_or("").is_empty()) =>
                {
                    filter.delayed.push((claim.key, object));
                }
                _ => immediate = true,
            }
        }
        if immediate { Err(IMMEDIATE) } else { Ok(Some(filter)) }
    }

    /// What the node would need written, where it can serve the claims.
    fn plan(&self, node: &NodeInfo) -> Result<Vec<Write>, Refusal> {
        for volume in &self.bound {
            let reach = volume.as_ref().ok_or(NO_VOLUME)?;
            if reach.as_ref().is_some_and(|selector| !selector.picks(node)) {
                return Err(NODE_CONFLICT);
            }
        }
        let Some(cx) = self.cx else { return Ok(Vec::new()) };
        let mut taken = BTreeMap::new();
        let mut writes = Vec::new();
        for (key, claim) in &self.delayed {
            let selected = annotation(claim, SELECTED_NODE);
            if selected.is_some_and(|selected| selected != node.name()) {
                return Err(BIND_CONFLICT);
            }
            if selected.is_none()
                && let Some(volume) = find::volume(cx, key, claim, node, &taken)
            {
                taken.insert(volume.to_owned(), ());
                writes.push(Write::BindVolume { claim: key.clone(), volume: volume.to_owned() });
                continue;
            }
            find::can_provision(cx, claim, node)?;
            writes.push(Write::SelectNode { claim: key.clone(), node: node.name().to_owned() });
        }
        Ok(writes)
    }
}

/// The claim, where it can be used at all.
fn existing<'a>(cx: Context<'_>, claim: &Claim<'a>) -> Result<&'a PersistentVolumeClaim, Refusal> {
    let name = &claim.name;
    let Some(object) = claim.object else {
        let text = if claim.ephemeral {
            format!("waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}")
        } else {
            format!("persistentvolumeclaim {name:?} not found")
        };
        return Err(Refusal::unresolvable(text));
    };
    if object.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Lost") {
        let volume = object.spec.as_ref().and_then(|s| s.volume_name.as_deref()).unwrap_or_default();
        return Err(Refusal::unresolvable(format!(
            "persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"
        )));
    }
    if object.metadata.deletion_timestamp.is_some() {
        return Err(Refusal::unresolvable(format!("persistentvolumeclaim {name:?} is being deleted")));
    }
    let owned = object.metadata.owner_references.iter().flatten().any(|o| o.uid == *cx.pod.uid);
    if claim.ephemeral && !owned {
        return Err(Refusal::unresolvable(format!(
            "PVC {} was not created for pod {} (pod is not owner)",
            claim.key, cx.pod.key
        )));
    }
    Ok(object)
}

fn required(volume: &PersistentVolume) -> Option<&NodeSelector> {
    volume.spec.as_ref()?.node_affinity.as_ref()?.required.as_ref()
}

fn reaches(volume: &PersistentVolume, node: &NodeInfo) -> bool {
    required(volume).is_none_or(|selector| node_affinity::selector_matches(selector, &node.node))
}

impl Plugin for VolumeBinding {
    fn pre_filter<'a>(&'a self, cx: Context<'a>, _state: &mut CycleState) -> PreFilter<'a> {
        match Filter::new(cx) {
            Ok(None) => PreFilter::Skip,
            Ok(Some(filter)) => PreFilter::filter(filter),
            Err(refusal) => PreFilter::Refuse(refusal),
        }
    }

    fn reserve(&self, cx: Context<'_>, _state: &CycleState, node: &NodeInfo) -> Result<Vec<Write>, Refusal> {
        Filter::new(cx)?.map_or(Ok(Vec::new()), |filter| filter.plan(node))
    }

    fn patience(&self) -> Duration {
        self.patience
    }

    fn hint(&self, _pod: &PodInfo, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::NodeAdded(_) => true,
            ClusterEvent::NodeUpdated(before, after) => before.metadata.labels != after.metadata.labels,
            ClusterEvent::Other(kind) => *kind != "Namespace",
            _ => false,
        }
    }
}

impl<'a> NodeFilter<'a> for Filter<'a> {
    fn check(&self, node: &NodeInfo) -> Result<(), Refusal> {
        self.plan(node).map(drop)
    }

    fn boxed(&self) -> Box<dyn NodeFilter<'a> + 'a> {
        Box::new(self.clone())
    }
}
