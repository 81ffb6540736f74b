//! Control groups of a cluster: everything that it runs, containers included, is in one of them, so that it can be found
//! and ended. Version 1 (one tree per controller) and version 2 (one tree).

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const MOUNT: &str = "/sys/fs/cgroup";

/// The roots of all mounted hierarchies.
fn hierarchies() -> Vec<PathBuf> {
    let mount = Path::new(MOUNT);
    if mount.join("cgroup.controllers").exists() {
        return vec![mount.to_owned()];
    }
    let Ok(entries) = fs::read_dir(mount) else { return Vec::new() };
    let is_tree = |p: &PathBuf| p.join("cgroup.procs").exists() && !p.is_symlink();
    let mut trees: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).filter(is_tree).collect();
    trees.sort();
    trees
}

/// Creates `group` and returns the file into which a process writes its pid to enter it. On version 1 the `pids` hierarchy
/// stands for all: it is enough to find the processes again.
pub fn create(group: &str) -> Result<PathBuf> {
    let all = hierarchies();
    let tree = all.iter().find(|t| t.ends_with("pids")).or(all.first()).context("no control groups are mounted")?;
    let dir = tree.join(group);
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(dir.join("cgroup.procs"))
}

/// The pids in `group` and below, in any hierarchy.
pub fn pids(group: &str) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    for tree in hierarchies() {
        for dir in subtree(&tree.join(group)) {
            let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_else(|_| String::new());
            found.extend(text.lines().filter_map(|l| l.parse::<i32>().ok()));
        }
    }
    found
}

/// Kills all processes of `group` and waits until they are gone.
pub async fn kill_all(group: &str) -> Result<()> {
    for _ in 0..100 {
        let left = pids(group);
        if left.is_empty() {
            return Ok(());
        }
        for pid in left {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("processes {:?} of {group} do not end", pids(group))
}

/// Removes `group` and all below it, in every hierarchy. They must be empty.
pub fn remove(group: &str) -> Result<()> {
    for tree in hierarchies() {
        for dir in subtree(&tree.join(group)).into_iter().rev() {
            fs::remove_dir(&dir).with_context(|| format!("remove {}", dir.display()))?;
        }
        // The parent is shared by all clusters: it goes with the last one.
        if let Some(parent) = Path::new(group).parent().filter(|p| *p != Path::new("")) {
            let _ = fs::remove_dir(tree.join(parent));
        }
    }
    Ok(())
}

/// `dir` and all directories below it, parents first.
fn subtree(dir: &Path) -> Vec<PathBuf> {
    if !dir.is_dir() {
        return Vec::new();
    }
    let mut list = vec![dir.to_owned()];
    let mut children: Vec<PathBuf> = match fs::read_dir(dir) {
        Ok(entries) => entries.filter_map(|e| e.ok().map(|e| e.path())).filter(|p| p.is_dir()).collect(),
        Err(_) => Vec::new(),
    };
    children.sort();
    list.extend(children.iter().flat_map(|c| subtree(c)));
    list
}
