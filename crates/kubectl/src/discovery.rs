//! What the server serves, and how the names that users type map to it.
//!
//! The documents are cached on disk where upstream's client caches them (`~/.kube/cache/discovery/HOST/…`), for six hours; a name
//! that the cache does not know makes it be fetched again, so that new custom resources are found at once.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::client::{Client, percent_encode};
use crate::error::{Error, Result};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
const FRESH: Duration = Duration::from_secs(6 * 3600);

/// One served resource.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Plural name.
    pub name: String,
    /// Singular name; may be empty.
    pub singular: String,
    /// Kind of its objects.
    pub kind: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Verbs that it answers to.
    pub verbs: Vec<String>,
    /// Short names.
    pub short_names: Vec<String>,
    /// Categories, such as `all`.
    pub categories: Vec<String>,
}

impl Resource {
    /// `group/version`, or `version` for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `name.group`, or `name` for the core group.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.name.clone() } else { format!("{}.{}", self.name, self.group) }
    }

    /// How messages name an object: `deployment.apps/web`.
    pub fn object_name(&self, name: &str) -> String {
        let kind = self.kind.to_lowercase();
        if self.group.is_empty() { format!("{kind}/{name}") } else { format!("{kind}.{}/{name}", self.group) }
    }

    /// Whether it answers to a verb.
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }

    /// The URL path of the collection.
    pub fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        match namespace.filter(|n| self.namespaced && !n.is_empty()) {
            Some(namespace) => format!("{root}/namespaces/{}/{}", percent_encode(namespace), self.name),
            None => format!("{root}/{}", self.name),
        }
    }

    /// The URL path of an object.
    pub fn object_path(&self, namespace: Option<&str>, name: &str) -> String {
        format!("{}/{}", self.path(namespace), percent_encode(name))
    }
}

/// One API group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// Its name; empty for the core group.
    pub name: String,
    /// Its versions, in the server's order of preference.
    pub versions: Vec<String>,
}

/// Everything served.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// The groups, in the server's order.
    pub groups: Vec<Group>,
    /// The resources (and no subresources), by group and version in that order.
    pub resources: Vec<Resource>,
    /// Whether these come from the disk and may be old.
    pub cached: bool,
}

impl Discovery {
    /// Reads the cache, or asks the server and fills the cache.
    pub async fn load(client: &Client, cache: &Path, refresh: bool) -> Result<Self> {
        let dir = directory(cache, &client.host);
        if !refresh && let Some(known) = read_cache(&dir) {
            return Ok(known);
        }
        let documents = fetch(client).await?;
        // A cache that cannot be written costs time, not correctness.
        let _cached = write_cache(&dir, &documents);
        Ok(from_documents(&documents))
    }

    /// The resource that a user's word names: `po`, `deployments.apps`, `deployments.v1.apps`, `Pod`.
    pub fn find(&self, word: &str) -> Option<&Resource> {
        let lower = word.to_lowercase();
        let (name, rest) = lower.split_once('.').unwrap_or((&lower, ""));
        let in_group = |r: &Resource| {
            let (version, group) = rest.split_once('.').unwrap_or((rest, ""));
            rest.is_empty() || r.group == rest || (r.version == version && r.group == group)
        };
        let full = |r: &&Resource| r.name == name || r.singular == name || r.kind.to_lowercase() == name;
        let short = |r: &&Resource| r.short_names.iter().any(|s| s == name);
        let prefix = |r: &&Resource| full(r) && !rest.is_empty() && r.group.starts_with(rest);
        let mut scoped = self.resources.iter().filter(|r| in_group(r));
        scoped.clone().find(full).or_else(|| scoped.find(short)).or_else(|| self.resources.iter().find(prefix))
    }

    /// The resource of a kind.
    pub fn of_kind(&self, api_version: &str, kind: &str) -> Option<&Resource> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.resources.iter().find(|r| r.group == group && r.version == version && r.kind == kind)
    }

    /// The resources of a category, each in its group's preferred version.
    pub fn category(&self, name: &str) -> Vec<&Resource> {
        let mut found: Vec<&Resource> = Vec::new();
        for resource in self.resources.iter().filter(|r| r.categories.iter().any(|c| c == name)) {
            if !found.iter().any(|f| f.group == resource.group && f.name == resource.name) {
                found.push(resource);
            }
        }
        found
    }

    /// Each resource once, in its group's preferred version.
    pub fn preferred(&self) -> Vec<&Resource> {
        let mut found: Vec<&Resource> = Vec::new();
        for resource in &self.resources {
            if !found.iter().any(|f| f.group == resource.group && f.name == resource.name) {
                found.push(resource);
            }
        }
        found
    }
}

/// Groups and their resource lists in the form in which the cache and old servers have them: `APIGroupList`, `APIResourceList`s.
struct Documents {
    groups: Value,
    lists: Vec<Value>,
}

async fn fetch(client: &Client) -> Result<Documents> {
    let (core, named) = tokio::join!(client.get_as("/api", AGGREGATED), client.get_as("/apis", AGGREGATED));
    let (core, named) = (core?, named?);
    if core["kind"] == "APIGroupDiscoveryList" && named["kind"] == "APIGroupDiscoveryList" {
        return Ok(from_aggregated(&[core, named]));
    }
    let versions = core["versions"].as_array().cloned().unwrap_or_default();
    let versions: Vec<Value> = versions.iter().map(|v| json!({"groupVersion": v, "version": v})).collect();
    let mut groups = vec![json!({"name": "", "versions": versions, "preferredVersion": versions.first()})];
    groups.extend(named["groups"].as_array().cloned().unwrap_or_default());
    let mut lists = Vec::new();
    for version in groups.iter().flat_map(|g| g["versions"].as_array().cloned().unwrap_or_default()) {
        let name = version["groupVersion"].as_str().unwrap_or_default().to_owned();
        let root = if name.contains('/') { "/apis" } else { "/api" };
        match client.get(&format!("{root}/{name}")).await {
            Ok(list) => lists.push(list),
            // A group whose server is away must not take the others with it.
            Err(Error::Status(status)) => {
                eprintln!("Warning: discovery of {name} failed: {}", status["message"].as_str().unwrap_or_default())
            }
            Err(other) => return Err(other),
        }
    }
    Ok(Documents { groups: json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}), lists })
}

fn from_aggregated(documents: &[Value]) -> Documents {
    let (mut groups, mut lists) = (Vec::new(), Vec::new());
    for group in documents.iter().flat_map(|d| d["items"].as_array().into_iter().flatten()) {
        let name = group["metadata"]["name"].as_str().unwrap_or_default();
        let mut versions = Vec::new();
        for version in group["versions"].as_array().into_iter().flatten() {
            let v = version["version"].as_str().unwrap_or_default();
            let gv = if name.is_empty() { v.to_owned() } else { format!("{name}/{v}") };
            versions.push(json!({"groupVersion": gv, "version": v}));
            let resources: Vec<Value> =
                version["resources"].as_array().into_iter().flatten().flat_map(resource_entries).collect();
            lists.push(
                json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": gv, "resources": resources}),
            );
        }
        groups.push(json!({"name": name, "versions": versions, "preferredVersion": versions.first()}));
    }
    Documents { groups: json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}), lists }
}

fn resource_entries(r: &Value) -> Vec<Value> {
    let namespaced = r["scope"] == "Namespaced";
    let mut entry = json!({
        "name": r["resource"], "singularName": r["singularResource"].as_str().unwrap_or_default(), "namespaced": namespaced,
        "kind": r["responseKind"]["kind"].as_str().unwrap_or_default(), "verbs": r["verbs"].as_array().cloned().unwrap_or_default(),
    });
    for key in ["shortNames", "categories"] {
        if r[key].is_array() {
            entry[key] = r[key].clone();
        }
    }
    let mut all = vec![entry];
    for sub in r["subresources"].as_array().into_iter().flatten() {
        let name = format!(
            "{}/{}",
            r["resource"].as_str().unwrap_or_default(),
            sub["subresource"].as_str().unwrap_or_default()
        );
        all.push(json!({
            "name": name, "singularName": "", "namespaced": namespaced, "kind": sub["responseKind"]["kind"].as_str().unwrap_or_default(),
            "verbs": sub["verbs"].as_array().cloned().unwrap_or_default(),
        }));
    }
    all
}

fn from_documents(documents: &Documents) -> Discovery {
    let mut discovery = Discovery::default();
    for group in documents.groups["groups"].as_array().into_iter().flatten() {
        let preferred = group["preferredVersion"]["version"].as_str().unwrap_or_default();
        let mut versions: Vec<String> = group["versions"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|v| v["version"].as_str().map(str::to_owned))
            .collect();
        versions.sort_by_key(|v| v != preferred);
        let name = group["name"].as_str().unwrap_or_default().to_owned();
        for version in &versions {
            let gv = if name.is_empty() { version.clone() } else { format!("{name}/{version}") };
            let list = documents.lists.iter().find(|l| l["groupVersion"] == gv.as_str());
            let entries = list.and_then(|l| l["resources"].as_array()).into_iter().flatten();
            discovery.resources.extend(entries.filter_map(|e| resource(e, &name, version)));
        }
        discovery.groups.push(Group { name, versions });
    }
    discovery
}

fn resource(entry: &Value, group: &str, version: &str) -> Option<Resource> {
    let name = entry["name"].as_str().filter(|n| !n.contains('/'))?;
    let strings =
        |key: &str| entry[key].as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect();
    let kind = entry["kind"].as_str()?.to_owned();
    let singular =
        entry["singularName"].as_str().filter(|s| !s.is_empty()).map_or_else(|| kind.to_lowercase(), str::to_owned);
    Some(Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        name: name.to_owned(),
        singular,
        kind,
        namespaced: entry["namespaced"].as_bool().unwrap_or(false),
        verbs: strings("verbs"),
        short_names: strings("shortNames"),
        categories: strings("categories"),
    })
}

fn directory(cache: &Path, host: &str) -> PathBuf {
    let safe: String =
        host.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '.') { c } else { '_' }).collect();
    cache.join("discovery").join(safe)
}

fn read_fresh(path: &Path) -> Option<Value> {
    let age = SystemTime::now().duration_since(std::fs::metadata(path).ok()?.modified().ok()?).ok()?;
    (age < FRESH).then(|| std::fs::read(path).ok()).flatten().and_then(|bytes| serde_json::from_slice(&bytes).ok())
}

fn read_cache(dir: &Path) -> Option<Discovery> {
    let groups = read_fresh(&dir.join("servergroups.json"))?;
    let versions = groups["groups"].as_array()?.iter().flat_map(|g| g["versions"].as_array().into_iter().flatten());
    let lists: Option<Vec<Value>> =
        versions.map(|v| read_fresh(&dir.join(v["groupVersion"].as_str()?).join("serverresources.json"))).collect();
    Some(Discovery { cached: true, ..from_documents(&Documents { groups: groups.clone(), lists: lists? }) })
}

fn write_cache(dir: &Path, documents: &Documents) -> std::io::Result<()> {
    for list in &documents.lists {
        let sub = dir.join(list["groupVersion"].as_str().unwrap_or_default());
        std::fs::create_dir_all(&sub)?;
        replace(&sub.join("serverresources.json"), list)?;
    }
    replace(&dir.join("servergroups.json"), &documents.groups)
}

/// Writes beside and renames: another kubectl never reads half a file.
fn replace(path: &Path, value: &Value) -> std::io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    std::io::Write::write_all(&mut file, value.to_string().as_bytes())?;
    file.persist(path).map(drop).map_err(|e| e.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Discovery {
        let entry = |name: &str, kind: &str, short: &[&str]| {
            json!({"resource": name, "responseKind": {"kind": kind}, "scope": "Namespaced", "verbs": ["get"], "shortNames": short, "categories": ["all"],
                   "subresources": [{"subresource": "status", "responseKind": {"kind": kind}, "verbs": ["get"]}]})
        };
        let group = |name: &str, versions: Value| json!({"metadata": {"name": name}, "versions": versions});
        from_documents(&from_aggregated(&[
            json!({"items": [group("", json!([{"version": "v1", "resources": [entry("pods", "Pod", &["po"]), entry("events", "Event", &["ev"])]}]))]}),
            json!({"items": [
                group("apps", json!([{"version": "v1", "resources": [entry("deployments", "Deployment", &["deploy"])]}])),
                group("autoscaling", json!([{"version": "v2", "resources": [entry("horizontalpodautoscalers", "HorizontalPodAutoscaler", &["hpa"])]},
                                            {"version": "v1", "resources": [entry("horizontalpodautoscalers", "HorizontalPodAutoscaler", &["hpa"])]}])),
                group("events.k8s.io", json!([{"version": "v1", "resources": [entry("events", "Event", &["ev"])]}])),
            ]}),
        ]))
    }

    #[test]
    fn words_find_resources() {
        let discovery = sample();
        for (word, want) in [
            ("po", Some("/api/v1/pods")),
            ("Pod", Some("/api/v1/pods")),
            ("deploy", Some("/apis/apps/v1/deployments")),
            ("deployments.apps", Some("/apis/apps/v1/deployments")),
            ("deployments.v1.apps", Some("/apis/apps/v1/deployments")),
            ("hpa", Some("/apis/autoscaling/v2/horizontalpodautoscalers")),
            ("hpa.v1.autoscaling", Some("/apis/autoscaling/v1/horizontalpodautoscalers")),
            ("events", Some("/api/v1/events")),
            ("events.events.k8s.io", Some("/apis/events.k8s.io/v1/events")),
            ("pods/status", None),
            ("deployments.v2.apps", None),
            ("foo", None),
        ] {
            let got = discovery.find(word).map(|r| r.path(None));
            assert_eq!(got.as_deref(), want, "{word}");
        }
        assert_eq!(discovery.category("all").len(), 5);
        assert_eq!(
            discovery.of_kind("apps/v1", "Deployment").map(|r| r.object_name("w")).as_deref(),
            Some("deployment.apps/w")
        );
    }

    #[test]
    fn the_cache_gives_back_what_was_put_in() {
        let dir = tempfile::tempdir().unwrap();
        let documents = from_aggregated(&[
            json!({"items": [{"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": [
            {"resource": "deployments", "responseKind": {"kind": "Deployment"}, "scope": "Namespaced", "verbs": ["get"]}]}]}]}),
        ]);
        write_cache(dir.path(), &documents).unwrap();
        let read = read_cache(dir.path()).unwrap();
        assert_eq!(Discovery { cached: false, ..read }, from_documents(&documents));
        assert!(dir.path().join("apps/v1/serverresources.json").exists());
    }
}
