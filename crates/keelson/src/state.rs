//! The clusters of this machine, each recorded in its `cluster.json`.

use std::fs;

use anyhow::{Context as _, Result};

use crate::spec::Cluster;

/// All clusters, by name.
pub fn clusters() -> Result<Vec<Cluster>> {
    let entries = match fs::read_dir(Cluster::state_root()) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.context("read the clusters' directory")?,
    };
    let mut list = Vec::new();
    for entry in entries {
        let file = entry?.path().join("cluster.json");
        if file.exists() {
            let text = fs::read_to_string(&file)?;
            list.push(serde_json::from_str::<Cluster>(&text).with_context(|| format!("read {}", file.display()))?);
        }
    }
    list.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(list)
}

/// The cluster called `name`.
pub fn find(name: &str) -> Result<Cluster> {
    clusters()?.into_iter().find(|c| c.name == name).with_context(|| format!("there is no cluster {name:?}"))
}

/// Records the cluster.
pub fn save(cluster: &Cluster) -> Result<()> {
    let dir = cluster.state_dir();
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    fs::write(dir.join("cluster.json"), serde_json::to_string_pretty(cluster)?).context("write cluster.json")
}
