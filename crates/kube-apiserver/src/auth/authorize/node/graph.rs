//! Which node has to do with which object, by way of the pods that run there.
//!
//! A node may read what its pods refer to: secrets, config maps, claims, the volumes behind the claims and the secrets of
//! those, resource claims, and it may make tokens for their service accounts. Volume attachments and resource slices name
//! their node themselves.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::{
    core::v1::{PersistentVolume, Pod, PodSpec, Volume},
    resource::v1::ResourceSlice,
    storage::v1::VolumeAttachment,
};
use kube::ResourceExt;
use parking_lot::RwLock;

use crate::auth::follow::{Change, Key, key};

/// What a pod can refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Secret,
    ConfigMap,
    Claim,
    ServiceAccount,
    ResourceClaim,
}

type Reference = (Kind, String, String);

/// The graph as last seen.
#[derive(Default)]
pub(crate) struct Graph(RwLock<State>);

#[derive(Default)]
struct State {
    pods: BTreeMap<Key, PodNode>,
    /// The pods that refer to something.
    referrers: BTreeMap<Reference, BTreeSet<Key>>,
    volumes: BTreeMap<Key, VolumeNode>,
    /// The volumes that need a secret.
    volumes_of_secret: BTreeMap<Key, BTreeSet<String>>,
    attachments: BTreeMap<Key, String>,
    slices: BTreeMap<Key, String>,
}

struct PodNode {
    node: String,
    references: BTreeSet<Reference>,
}

struct VolumeNode {
    claim: Option<Key>,
    secrets: BTreeSet<Key>,
}

// === impl Graph ===

impl Graph {
    pub(crate) fn pod(&self, change: Change<Pod>) {
        let mut state = self.0.write();
        match change {
            Change::Replace(pods) => {
                state.pods.clear();
                state.referrers.clear();
                pods.iter().for_each(|pod| state.put_pod(pod));
            }
            Change::Put(pod) => {
                state.remove_pod(&key(&pod));
                state.put_pod(&pod);
            }
            Change::Delete(pod) => state.remove_pod(&key(&pod)),
        }
    }

    pub(crate) fn volume(&self, change: Change<PersistentVolume>) {
        let mut state = self.0.write();
        change.apply(&mut state.volumes, |volume| volume_node(&volume));
        let mut by_secret: BTreeMap<Key, BTreeSet<String>> = BTreeMap::new();
        for ((_, name), volume) in &state.volumes {
            for secret in &volume.secrets {
                by_secret.entry(secret.clone()).or_default().insert(name.clone());
            }
        }
        state.volumes_of_secret = by_secret;
    }

    pub(crate) fn attachment(&self, change: Change<VolumeAttachment>) {
        change.apply(&mut self.0.write().attachments, |attachment| attachment.spec.node_name);
    }

    pub(crate) fn slice(&self, change: Change<ResourceSlice>) {
        change.apply(&mut self.0.write().slices, |slice| slice.spec.node_name.unwrap_or_default());
    }

    /// Whether a pod of `node` refers to the object.
    pub(super) fn refers(&self, node: &str, kind: Kind, namespace: &str, name: &str) -> bool {
        let state = self.0.read();
        let object = (namespace.to_owned(), name.to_owned());
        state.refers(node, kind, &object)
            || (kind == Kind::Secret
                && state
                    .volumes_of_secret
                    .get(&object)
                    .into_iter()
                    .flatten()
                    .any(|volume| state.uses_volume(node, volume)))
    }

    /// Whether a pod of `node` uses the volume.
    pub(super) fn uses_volume(&self, node: &str, volume: &str) -> bool {
        self.0.read().uses_volume(node, volume)
    }

    pub(super) fn runs(&self, node: &str, namespace: &str, pod: &str) -> bool {
        let key = (namespace.to_owned(), pod.to_owned());
        self.0.read().pods.get(&key).is_some_and(|pod| pod.node == node)
    }

    pub(super) fn attaches(&self, node: &str, attachment: &str) -> bool {
        self.0.read().attachments.get(&(String::new(), attachment.to_owned())).is_some_and(|of| of == node)
    }

    pub(super) fn owns_slice(&self, node: &str, slice: &str) -> bool {
        self.0.read().slices.get(&(String::new(), slice.to_owned())).is_some_and(|of| of == node)
    }
}

// === impl State ===

impl State {
    fn put_pod(&mut self, pod: &Pod) {
        let Some(spec) = &pod.spec else { return };
        let Some(node) = spec.node_name.clone().filter(|node| !node.is_empty()) else { return };
        let key = key(pod);
        let references = references(pod, spec, &key.0);
        for reference in &references {
            self.referrers.entry(reference.clone()).or_default().insert(key.clone());
        }
        self.pods.insert(key, PodNode { node, references });
    }

    fn remove_pod(&mut self, key: &Key) {
        let Some(pod) = self.pods.remove(key) else { return };
        for reference in pod.references {
            if let Some(pods) = self.referrers.get_mut(&reference) {
                pods.remove(key);
                if pods.is_empty() {
                    self.referrers.remove(&reference);
                }
            }
        }
    }

    fn refers(&self, node: &str, kind: Kind, (namespace, name): &Key) -> bool {
        let pods = self.referrers.get(&(kind, namespace.clone(), name.clone()));
        pods.into_iter().flatten().any(|pod| self.pods.get(pod).is_some_and(|pod| pod.node == node))
    }

    fn uses_volume(&self, node: &str, volume: &str) -> bool {
        let volume = self.volumes.get(&(String::new(), volume.to_owned()));
        let claim = volume.and_then(|volume| volume.claim.as_ref());
        claim.is_some_and(|claim| self.refers(node, Kind::Claim, claim))
    }
}

/// Everything that the kubelet needs for a pod. A mirror pod needs nothing: its source is on the node.
fn references(pod: &Pod, spec: &PodSpec, namespace: &str) -> BTreeSet<Reference> {
    let mut found = BTreeSet::new();
    if pod.annotations().contains_key("kubernetes.io/config.mirror") {
        return found;
    }
    let mut add = |kind: Kind, name: &str| {
        if !name.is_empty() {
            found.insert((kind, namespace.to_owned(), name.to_owned()));
        }
    };
    add(Kind::ServiceAccount, spec.service_account_name.as_deref().unwrap_or_default());
    for secret in spec.image_pull_secrets.iter().flatten() {
        add(Kind::Secret, &secret.name);
    }
    environment(spec, &mut add);
    for volume in spec.volumes.iter().flatten() {
        volume_references(volume, &pod.name_any(), &mut add);
    }
    for claim in spec.resource_claims.iter().flatten() {
        add(Kind::ResourceClaim, claim.resource_claim_name.as_deref().unwrap_or_default());
    }
    let statuses = pod.status.iter().filter_map(|status| status.resource_claim_statuses.as_ref());
    for claim in statuses.flatten() {
        add(Kind::ResourceClaim, claim.resource_claim_name.as_deref().unwrap_or_default());
    }
    found
}

fn environment(spec: &PodSpec, add: &mut impl FnMut(Kind, &str)) {
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let regular = containers.map(|c| (&c.env, &c.env_from));
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|c| (&c.env, &c.env_from));
    for (env, env_from) in regular.chain(ephemeral) {
        for source in env.iter().flatten().filter_map(|var| var.value_from.as_ref()) {
            if let Some(secret) = &source.secret_key_ref {
                add(Kind::Secret, &secret.name);
            }
            if let Some(map) = &source.config_map_key_ref {
                add(Kind::ConfigMap, &map.name);
            }
        }
        for source in env_from.iter().flatten() {
            if let Some(secret) = &source.secret_ref {
                add(Kind::Secret, &secret.name);
            }
            if let Some(map) = &source.config_map_ref {
                add(Kind::ConfigMap, &map.name);
            }
        }
    }
}

fn volume_references(volume: &Volume, pod: &str, add: &mut impl FnMut(Kind, &str)) {
    if let Some(source) = &volume.secret {
        add(Kind::Secret, source.secret_name.as_deref().unwrap_or_default());
    }
    if let Some(source) = &volume.config_map {
        add(Kind::ConfigMap, &source.name);
    }
    if let Some(source) = &volume.persistent_volume_claim {
        add(Kind::Claim, &source.claim_name);
    }
    if volume.ephemeral.is_some() {
        add(Kind::Claim, &format!("{pod}-{}", volume.name));
    }
    for source in volume.projected.iter().filter_map(|it| it.sources.as_ref()).flatten() {
        if let Some(secret) = &source.secret {
            add(Kind::Secret, &secret.name);
        }
        if let Some(map) = &source.config_map {
            add(Kind::ConfigMap, &map.name);
        }
    }
    let driver_secrets = [
        volume.csi.as_ref().and_then(|it| it.node_publish_secret_ref.as_ref()),
        volume.cephfs.as_ref().and_then(|it| it.secret_ref.as_ref()),
        volume.flex_volume.as_ref().and_then(|it| it.secret_ref.as_ref()),
        volume.iscsi.as_ref().and_then(|it| it.secret_ref.as_ref()),
        volume.rbd.as_ref().and_then(|it| it.secret_ref.as_ref()),
        volume.scale_io.as_ref().map(|it| &it.secret_ref),
        volume.storageos.as_ref().and_then(|it| it.secret_ref.as_ref()),
    ];
    for secret in driver_secrets.into_iter().flatten() {
        add(Kind::Secret, &secret.name);
    }
    if let Some(azure) = &volume.azure_file {
        add(Kind::Secret, &azure.secret_name);
    }
}

fn volume_node(volume: &PersistentVolume) -> VolumeNode {
    let mut secrets = BTreeSet::new();
    let spec = volume.spec.as_ref();
    if let Some(csi) = spec.and_then(|spec| spec.csi.as_ref()) {
        let references = [
            &csi.controller_publish_secret_ref,
            &csi.node_publish_secret_ref,
            &csi.node_stage_secret_ref,
            &csi.node_expand_secret_ref,
        ];
        for secret in references.into_iter().flatten() {
            secrets.insert((secret.namespace.clone().unwrap_or_default(), secret.name.clone().unwrap_or_default()));
        }
    }
    let claim = spec.and_then(|spec| spec.claim_ref.as_ref());
    VolumeNode {
        claim: claim.map(|claim| (claim.namespace.clone().unwrap_or_default(), claim.name.clone().unwrap_or_default())),
        secrets,
    }
}
