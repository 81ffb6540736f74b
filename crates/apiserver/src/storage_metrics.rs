//! How much is stored, by resource: counted when somebody asks for the metrics, under upstream's names.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::server::Core;

/// Upstream numbers its etcd clusters; here there is one store.
const STORE: &str = "etcd-0";

/// One stored resource, however many of its versions are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stored {
    objects: usize,
    bytes: usize,
}

/// The metrics as text. The size of the store is left out while it can't say.
pub(crate) async fn render(core: &Core) -> String {
    let mut resources = BTreeMap::new();
    for resource in core.catalog.all() {
        if let Some(stored) = &resource.stored {
            resources.entry((resource.group.clone(), resource.plural.clone())).or_insert_with(|| {
                let (objects, bytes) = stored.cache.size();
                Stored { objects, bytes }
            });
        }
    }
    text(&resources, core.registry.store.size().await.ok(), core.registry.hub.forms().used())
}

fn text(resources: &BTreeMap<(String, String), Stored>, size: Option<u64>, forms: usize) -> String {
    let mut text = String::new();
    let mut family = |name: &str, help: &str, rows: Vec<(String, usize)>| {
        // Writing into a String can't fail.
        let _ = write!(text, "# HELP {name} {help}.\n# TYPE {name} gauge\n");
        for (labels, value) in rows {
            let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let both = |value: fn(&Stored) -> usize| -> Vec<(String, usize)> {
        let labels = |group: &str, resource: &str| format!("group=\"{group}\",resource=\"{resource}\"");
        resources.iter().map(|((group, resource), stored)| (labels(group, resource), value(stored))).collect()
    };
    family("apiserver_resource_objects", "Stored objects by resource", both(|stored| stored.objects));
    let estimate = "Size of the stored objects by resource, as they are encoded";
    family("apiserver_resource_size_estimate_bytes", estimate, both(|stored| stored.bytes));
    let name = |((group, resource), stored): (&(String, String), &Stored)| {
        let dot = if group.is_empty() { "" } else { "." };
        (format!("resource=\"{resource}{dot}{group}\""), stored.objects)
    };
    family("apiserver_storage_objects", "Stored objects by resource", resources.iter().map(name).collect());
    if let Some(size) = size {
        let row = (format!("storage_cluster_id=\"{STORE}\""), usize::try_from(size).unwrap_or(usize::MAX));
        family("apiserver_storage_size_bytes", "What the store takes on disk", vec![row]);
    }
    let help = "What the encoded forms of objects take in memory (not a metric of upstream)";
    family("apiserver_keelson_encoded_cache_bytes", help, vec![(String::new(), forms)]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_resource_has_its_lines() {
        let key = |group: &str, resource: &str| (group.to_owned(), resource.to_owned());
        let resources = BTreeMap::from([
            (key("", "pods"), Stored { objects: 2, bytes: 300 }),
            (key("apps", "deployments"), Stored { objects: 0, bytes: 0 }),
        ]);
        let text = text(&resources, Some(4096), 77);
        for line in [
            "apiserver_resource_objects{group=\"\",resource=\"pods\"} 2",
            "apiserver_resource_objects{group=\"apps\",resource=\"deployments\"} 0",
            "apiserver_resource_size_estimate_bytes{group=\"\",resource=\"pods\"} 300",
            "apiserver_storage_objects{resource=\"pods\"} 2",
            "apiserver_storage_objects{resource=\"deployments.apps\"} 0",
            "apiserver_storage_size_bytes{storage_cluster_id=\"etcd-0\"} 4096",
            "apiserver_keelson_encoded_cache_bytes 77",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
