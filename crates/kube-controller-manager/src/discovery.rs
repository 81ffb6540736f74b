//! Which resources the API server serves, from its aggregated discovery documents. Read when asked for and kept for half a minute,
//! so that custom resources come in soon and a burst of namespace deletions costs one look.

use std::{sync::Arc, time::Duration};

use kube::{
    Client,
    api::ApiResource,
    core::discovery::v2::{APIGroupDiscovery, APIVersionDiscovery},
};
use tokio::{sync::Mutex, time::Instant};

const FRESH: Duration = Duration::from_secs(30);

/// A resource that the API server serves, in its group's preferred version that has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Discovered {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    pub(crate) namespaced: bool,
    pub(crate) verbs: Vec<String>,
    /// Every version of the group that serves the kind.
    pub(crate) versions: Vec<String>,
}

impl Discovered {
    pub(crate) fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }

    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `deployments.apps`, as messages name it.
    pub(crate) fn group_resource(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    pub(crate) fn api_resource(&self) -> ApiResource {
        ApiResource {
            group: self.group.clone(),
            version: self.version.clone(),
            api_version: self.api_version(),
            kind: self.kind.clone(),
            plural: self.plural.clone(),
        }
    }
}

/// What discovery answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Served {
    /// Sorted by group, version, kind.
    pub(crate) resources: Vec<Discovered>,
    /// Group versions whose API server did not answer: their resources may exist unseen.
    pub(crate) stale: Vec<String>,
}

/// The cached discovery of the process.
#[derive(Clone)]
pub(crate) struct Discovery(Arc<Inner>);

struct Inner {
    client: Client,
    cached: Mutex<Option<(Arc<Served>, Instant)>>,
}

impl Discovery {
    pub(crate) fn new(client: Client) -> Self {
        Self(Arc::new(Inner { client, cached: Mutex::default() }))
    }

    pub(crate) async fn served(&self) -> Result<Arc<Served>, kube::Error> {
        let mut cached = self.0.cached.lock().await;
        if let Some((served, at)) = &*cached
            && at.elapsed() < FRESH
        {
            return Ok(served.clone());
        }
        let core = self.0.client.list_core_api_versions_aggregated().await?;
        let groups = self.0.client.list_api_groups_aggregated().await?;
        let served = Arc::new(collect(core.items.iter().chain(&groups.items)));
        *cached = Some((served.clone(), Instant::now()));
        Ok(served)
    }
}

fn collect<'a>(groups: impl Iterator<Item = &'a APIGroupDiscovery>) -> Served {
    let mut served = Served::default();
    for group in groups {
        let name = group.metadata.as_ref().and_then(|m| m.name.clone()).unwrap_or_default();
        for version in &group.versions {
            collect_version(&name, version, &mut served);
        }
    }
    served.resources.sort();
    served
}

fn collect_version(group: &str, version: &APIVersionDiscovery, served: &mut Served) {
    let name = version.version.clone().unwrap_or_default();
    if version.freshness.as_deref() == Some("Stale") {
        served.stale.push(if group.is_empty() { name } else { format!("{group}/{name}") });
        return;
    }
    for resource in &version.resources {
        let plural = resource.resource.clone().unwrap_or_default();
        if let Some(known) = served.resources.iter_mut().find(|r| r.group == group && r.plural == plural) {
            known.versions.push(name.clone());
            continue;
        }
        served.resources.push(Discovered {
            group: group.to_owned(),
            version: name.clone(),
            kind: resource.response_kind.as_ref().and_then(|k| k.kind.clone()).unwrap_or_default(),
            plural,
            namespaced: resource.scope.as_deref() == Some("Namespaced"),
            verbs: resource.verbs.clone(),
            versions: vec![name.clone()],
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_version_wins_and_stale_ones_are_named() {
        let groups: Vec<APIGroupDiscovery> = serde_json::from_value(serde_json::json!([
            {"metadata": {"name": "autoscaling"}, "versions": [
                {"version": "v2", "resources": [{"resource": "hpas", "responseKind": {"kind": "HPA", "group": "", "version": ""}, "scope": "Namespaced", "verbs": ["list"]}]},
                {"version": "v1", "resources": [{"resource": "hpas", "responseKind": {"kind": "HPA", "group": "", "version": ""}, "scope": "Namespaced", "verbs": ["list"]}]}]},
            {"metadata": {"name": "metrics"}, "versions": [{"version": "v1", "freshness": "Stale"}]}
        ]))
        .unwrap();
        let served = collect(groups.iter());
        assert_eq!(served.stale, ["metrics/v1"]);
        assert_eq!(served.resources.len(), 1);
        assert_eq!(
            (served.resources[0].api_version().as_str(), served.resources[0].versions.len()),
            ("autoscaling/v2", 2)
        );
    }
}
