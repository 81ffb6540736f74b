//! The resource table: every built-in resource that is served by default. Routes, discovery, storage keys and names
//! derive from it (see `table.txt`, which is the table).

use std::sync::OnceLock;

use base64::Engine;
use sha2::{Digest, Sha256};

const TABLE: &str = include_str!("table.txt");

/// All verbs, in discovery's order.
pub const ALL_VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const SUBRESOURCE_VERBS: [&str; 3] = ["get", "patch", "update"];

/// One resource in one served version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: String,
    pub short_names: Vec<&'static str>,
    pub categories: Vec<&'static str>,
    pub namespaced: bool,
    pub verbs: Vec<&'static str>,
    pub subresources: Vec<Subresource>,
    /// Absent for resources that are not stored (reviews, bindings).
    pub storage: Option<Storage>,
}

/// Where and as what a resource is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    pub group: &'static str,
    pub version: &'static str,
    /// Below `/registry/`: `pods`, `services/specs`, `minions`.
    pub prefix: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subresource {
    pub name: &'static str,
    /// Group and version of the body when they are not the resource's own (`autoscaling/v1` for `scale`).
    pub group_version: Option<(&'static str, &'static str)>,
    pub kind: &'static str,
    pub verbs: Vec<&'static str>,
}

/// An API group with its served versions, preferred one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: &'static str,
    pub versions: Vec<&'static str>,
}

impl Resource {
    /// `apps/v1`, or `v1`.
    pub fn api_version(&self) -> String {
        join(self.group, self.version)
    }

    /// `PodList`.
    pub fn list_kind(&self) -> String {
        format!("{}List", self.kind)
    }

    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    pub fn supports(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// `/registry/pods/`, what every key of the resource starts with.
    pub fn key_root(&self) -> Option<String> {
        self.storage.as_ref().map(|s| format!("/registry/{}/", s.prefix))
    }

    /// `/registry/pods/default/web`; the namespace is empty for cluster-wide resources.
    pub fn key(&self, namespace: &str, name: &str) -> Option<String> {
        let root = self.key_root()?;
        Some(if self.namespaced { format!("{root}{namespace}/{name}") } else { format!("{root}{name}") })
    }

    /// Discovery's `storageVersionHash`.
    pub fn storage_version_hash(&self) -> Option<String> {
        let storage = self.storage.as_ref()?;
        Some(storage_version_hash(storage.group, storage.version, self.kind))
    }
}

/// Base64 of the first eight bytes of the SHA-256 of `group/version/kind`.
pub fn storage_version_hash(group: &str, version: &str, kind: &str) -> String {
    let digest = Sha256::digest(format!("{group}/{version}/{kind}"));
    base64::engine::general_purpose::STANDARD.encode(&digest[..8])
}

/// `group/version`, or only the version for the core group.
pub fn join(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// Every resource, in discovery's order.
pub fn all() -> &'static [Resource] {
    static ALL: OnceLock<Vec<Resource>> = OnceLock::new();
    ALL.get_or_init(read)
}

/// Every group, the core group first, then in discovery's order.
pub fn groups() -> &'static [Group] {
    static GROUPS: OnceLock<Vec<Group>> = OnceLock::new();
    GROUPS.get_or_init(|| {
        let mut groups: Vec<Group> = Vec::new();
        for resource in all() {
            match groups.iter_mut().find(|g| g.name == resource.group) {
                Some(group) if group.versions.contains(&resource.version) => {}
                Some(group) => group.versions.push(resource.version),
                None => groups.push(Group { name: resource.group, versions: vec![resource.version] }),
            }
        }
        groups
    })
}

/// The resource of a plural name.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    all().iter().find(|r| r.group == group && r.version == version && r.plural == plural)
}

/// The resource of a kind.
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static Resource> {
    all().iter().find(|r| r.group == group && r.version == version && r.kind == kind)
}

// The table is part of the program: a line that cannot be read is a bug, and panics on first use.
fn read() -> Vec<Resource> {
    let mut resources: Vec<Resource> = Vec::new();
    let mut group_version = ("", "");
    for line in TABLE.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        if let Some(header) = line.strip_prefix('[') {
            group_version = split_group_version(header.trim_end_matches(']'));
        } else if let Some(subresource) = line.strip_prefix("  ") {
            let parent = resources.last_mut().expect("a subresource follows its resource");
            parent.subresources.push(read_subresource(subresource));
        } else {
            resources.push(read_resource(group_version, line));
        }
    }
    resources
}

fn split_group_version(text: &'static str) -> (&'static str, &'static str) {
    let (group, version) = text.rsplit_once('/').unwrap_or_else(|| panic!("no version: {text}"));
    (if group == "core" { "" } else { group }, version)
}

fn read_resource((group, version): (&'static str, &'static str), line: &'static str) -> Resource {
    let words: Vec<&'static str> = line.split(' ').collect();
    let [plural, kind, scope, ..] = words[..] else { panic!("short line: {line}") };
    let option = |name: &str| words.iter().find_map(|w| w.strip_prefix(name)?.strip_prefix('='));
    let list = |name| option(name).map_or_else(Vec::new, |v| v.split(',').collect());
    let storage = option("storage").map(|text| {
        let (group, version) = if text.contains('/') { split_group_version(text) } else { (group, text) };
        Storage { group, version, prefix: option("key").unwrap_or(plural) }
    });
    Resource {
        group,
        version,
        kind,
        plural,
        singular: option("singular").map_or_else(|| kind.to_lowercase(), str::to_owned),
        short_names: list("short"),
        categories: list("categories"),
        namespaced: scope == "namespaced",
        verbs: option("verbs").map_or_else(|| ALL_VERBS.to_vec(), |v| v.split(',').collect()),
        subresources: Vec::new(),
        storage,
    }
}

fn read_subresource(line: &'static str) -> Subresource {
    let mut words = line.split(' ');
    let name = words.next().unwrap_or_default();
    let kind = words.next().unwrap_or_else(|| panic!("short line: {line}"));
    let (group_version, kind) = match kind.rsplit_once('.') {
        Some((group_version, kind)) => (Some(split_group_version(group_version)), kind),
        None => (None, kind),
    };
    let verbs = words.next().and_then(|w| w.strip_prefix("verbs="));
    Subresource {
        name,
        group_version,
        kind,
        verbs: verbs.map_or_else(|| SUBRESOURCE_VERBS.to_vec(), |v| v.split(',').collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_hashes_are_those_of_upstream() {
        let pods = find("", "v1", "pods").expect("pods");
        assert_eq!(pods.key("default", "web").as_deref(), Some("/registry/pods/default/web"));
        assert_eq!(pods.storage_version_hash().as_deref(), Some("xPOwRZ+Yhw8="));
        let nodes = find("", "v1", "nodes").expect("nodes");
        assert_eq!(nodes.key("", "a").as_deref(), Some("/registry/minions/a"));
        let events = find("events.k8s.io", "v1", "events").expect("events");
        assert_eq!(events.storage_version_hash().as_deref(), Some("r2yiGXH7wu8="));
        let scale = find("apps", "v1", "deployments").and_then(|d| d.subresource("scale")).expect("scale");
        assert_eq!(scale.group_version, Some(("autoscaling", "v1")));
        assert!(find("", "v1", "bindings").is_some_and(|b| b.storage.is_none() && b.verbs == ["create"]));
    }

    #[test]
    fn every_kind_has_a_schema() {
        for resource in all() {
            let schema = crate::schema::lookup(resource.group, resource.version, resource.kind);
            assert!(schema.is_some(), "{resource:?}");
            for subresource in &resource.subresources {
                let (group, version) = subresource.group_version.unwrap_or((resource.group, resource.version));
                assert!(crate::schema::lookup(group, version, subresource.kind).is_some(), "{subresource:?}");
            }
        }
        assert_eq!(groups().len(), 23);
        assert_eq!(groups()[0].name, "");
    }
}
