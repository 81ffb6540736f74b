//! Owners and dependents. Pure: events in, uids to look at out.

use std::collections::{BTreeMap, BTreeSet};

use api_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::{FOREGROUND, ORPHAN};

/// What an event asks to be looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    pub(super) delete: Vec<String>,
    pub(super) orphan: Vec<String>,
}

/// An object in the graph.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Node {
    pub(super) api_version: String,
    pub(super) kind: String,
    /// For a node known only as owner: the dependent's, which is wrong for a cluster-scoped owner.
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) owners: Vec<OwnerReference>,
    pub(super) dependents: BTreeSet<String>,
    pub(super) deleting: bool,
    /// Being deleted, waiting for its dependents.
    pub(super) foreground: bool,
    /// Only known from a dependent's reference.
    pub(super) is_virtual: bool,
}

/// All objects, by uid.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: BTreeMap<String, Node>,
}

impl Graph {
    pub(super) fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// The dependents of an object that block its foreground deletion, and whether each waits for its own dependents.
    pub(super) fn blocking(&self, uid: &str) -> Vec<(String, bool)> {
        let Some(node) = self.nodes.get(uid) else { return Vec::new() };
        let blocks = |dependent: &Node| {
            dependent.owners.iter().any(|owner| owner.uid == uid && owner.block_owner_deletion == Some(true))
        };
        let known = node.dependents.iter().filter_map(|dependent| Some((dependent, self.nodes.get(dependent)?)));
        known.filter(|(_, dependent)| blocks(dependent)).map(|(uid, node)| (uid.clone(), node.foreground)).collect()
    }

    /// An object was added or changed.
    pub(super) fn upsert(&mut self, api_version: &str, kind: &str, meta: &ObjectMeta) -> Work {
        let mut work = Work::default();
        let Some(uid) = meta.uid.clone() else { return work };
        let owners = meta.owner_references.clone().unwrap_or_default();
        let before = self.nodes.get(&uid).cloned().unwrap_or_default();
        let deleting = meta.deletion_timestamp.is_some();
        let has = |finalizer: &str| meta.finalizers.iter().flatten().any(|f| f == finalizer);
        let foreground = deleting && has(FOREGROUND);
        let node = Node {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            owners: owners.clone(),
            dependents: before.dependents.clone(),
            deleting,
            foreground,
            is_virtual: false,
        };
        let namespace = node.namespace.clone();
        self.nodes.insert(uid.clone(), node);
        for owner in before.owners.iter().filter(|old| !owners.contains(old)) {
            let still = owners.iter().any(|new| new.uid == owner.uid);
            self.unlink(&owner.uid, &uid, still, &mut work);
        }
        for owner in owners {
            self.link(&owner, &namespace, &uid, &mut work);
        }
        if deleting && has(ORPHAN) {
            work.orphan.push(uid.clone());
        }
        if foreground && !before.foreground {
            work.delete.extend(before.dependents);
            work.delete.push(uid);
        }
        work
    }

    fn link(&mut self, owner: &OwnerReference, namespace: &str, dependent: &str, work: &mut Work) {
        let node = self.nodes.entry(owner.uid.clone()).or_insert_with(|| {
            // Unknown so far: whether it exists has to be found out.
            work.delete.push(owner.uid.clone());
            Node {
                api_version: owner.api_version.clone(),
                kind: owner.kind.clone(),
                namespace: namespace.to_owned(),
                name: owner.name.clone(),
                is_virtual: true,
                ..Node::default()
            }
        });
        node.dependents.insert(dependent.to_owned());
        if node.foreground && !work.delete.contains(&owner.uid) {
            work.delete.push(dependent.to_owned());
        }
    }

    /// A reference was removed, or changed (`still`): an owner that waits may go on.
    fn unlink(&mut self, owner: &str, dependent: &str, still: bool, work: &mut Work) {
        let Some(node) = self.nodes.get_mut(owner) else { return };
        if !still {
            node.dependents.remove(dependent);
        }
        if node.foreground {
            work.delete.push(owner.to_owned());
        }
        if node.is_virtual && node.dependents.is_empty() {
            self.nodes.remove(owner);
        }
    }

    /// An object is gone: its dependents may follow, its owners may go on.
    pub(super) fn remove(&mut self, uid: &str) -> Work {
        let mut work = Work::default();
        let Some(node) = self.nodes.remove(uid) else { return work };
        for owner in &node.owners {
            self.unlink(&owner.uid, uid, false, &mut work);
        }
        work.delete.extend(node.dependents);
        work
    }
}
