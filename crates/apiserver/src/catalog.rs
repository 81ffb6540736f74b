//! All resources that are served now.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::RwLock;

use crate::model::{Format, Resource};

/// Resources by plural, of each version, of each group.
type Resources = BTreeMap<String, BTreeMap<String, BTreeMap<String, Arc<Resource>>>>;

/// A version of a group, as discovery orders it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupVersions {
    pub group: String,
    /// Preferred version first.
    pub versions: Vec<String>,
}

/// Sorts versions as discovery prefers them: `v2`, `v1`, `v1beta1`, `v1alpha1`, then all others by name.
pub fn version_order(name: &str) -> (u8, i64, i64, String) {
    let parsed = name.strip_prefix('v').and_then(|rest| {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let major: i64 = rest[..digits].parse().ok()?;
        let (class, minor) = match &rest[digits..] {
            "" => (0, "0"),
            tail => tail.strip_prefix("beta").map(|n| (1, n)).or_else(|| tail.strip_prefix("alpha").map(|n| (2, n)))?,
        };
        Some((class, -major, -minor.parse::<i64>().ok()?, String::new()))
    });
    parsed.unwrap_or_else(|| (3, 0, 0, name.to_owned()))
}

#[derive(Default)]
struct State {
    groups: Vec<GroupVersions>,
    resources: Resources,
    /// Formats that are no resource's own: `Scale`, `Binding`, `DeleteOptions`, ...
    formats: Vec<Arc<Format>>,
}

impl State {
    fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.resources.get(group)?.get(version)?.get(plural)
    }
}

/// The routing table. Built-in resources are there from the start, custom ones come and go.
#[derive(Default)]
pub struct Catalog(RwLock<State>);

impl Catalog {
    pub fn insert(&self, resource: Arc<Resource>) {
        let mut state = self.0.write();
        let group = state.groups.iter_mut().find(|g| g.group == resource.group);
        match group {
            Some(group) if group.versions.contains(&resource.version) => {}
            Some(group) => group.versions.push(resource.version.clone()),
            None => state
                .groups
                .push(GroupVersions { group: resource.group.clone(), versions: vec![resource.version.clone()] }),
        }
        let versions = state.resources.entry(resource.group.clone()).or_default();
        versions.entry(resource.version.clone()).or_default().insert(resource.plural.clone(), resource);
    }

    pub fn remove(&self, group: &str, version: &str, plural: &str) {
        let mut state = self.0.write();
        let State { groups, resources, .. } = &mut *state;
        let Some(versions) = resources.get_mut(group) else { return };
        if let Some(of_version) = versions.get_mut(version) {
            of_version.remove(plural);
        }
        versions.retain(|_, of_version| !of_version.is_empty());
        for entry in groups.iter_mut().filter(|entry| entry.group == group) {
            entry.versions.retain(|version| versions.contains_key(version));
        }
        groups.retain(|g| !g.versions.is_empty());
    }

    pub fn add_format(&self, format: Arc<Format>) {
        self.0.write().formats.push(format);
    }

    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.0.read().find(group, version, plural).cloned()
    }

    /// The resource in its group's preferred version.
    pub fn preferred(&self, group: &str, plural: &str) -> Option<Arc<Resource>> {
        let state = self.0.read();
        let versions = &state.groups.iter().find(|g| g.group == group)?.versions;
        versions.iter().find_map(|version| state.find(group, version, plural)).cloned()
    }

    pub fn find_kind(&self, group: &str, version: &str, kind: &str) -> Option<Arc<Resource>> {
        self.of_version(group, version).into_iter().find(|r| r.kind == kind)
    }

    /// The format of a kind: a resource's, or one of those that were added.
    pub fn format(&self, group: &str, version: &str, kind: &str) -> Option<Arc<Format>> {
        if let Some(resource) = self.find_kind(group, version, kind) {
            return Some(Arc::clone(&resource.format));
        }
        self.0.read().formats.iter().find(|f| f.is(group, version, kind)).cloned()
    }

    /// The resources of a group version in the order of their names.
    pub fn of_version(&self, group: &str, version: &str) -> Vec<Arc<Resource>> {
        let state = self.0.read();
        let of_version = state.resources.get(group).and_then(|versions| versions.get(version));
        of_version.into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// All groups in discovery's order; the core group is "".
    pub fn groups(&self) -> Vec<GroupVersions> {
        self.0.read().groups.clone()
    }

    /// Every resource.
    pub fn all(&self) -> Vec<Arc<Resource>> {
        self.0.read().resources.values().flat_map(BTreeMap::values).flat_map(BTreeMap::values).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_sort_as_discovery_prefers() {
        let mut names = vec!["v1alpha1", "foo", "v1", "v10", "v1beta2", "v2", "v1beta10"];
        names.sort_by_key(|n| version_order(n));
        assert_eq!(names, ["v10", "v2", "v1", "v1beta10", "v1beta2", "v1alpha1", "foo"]);
    }
}
