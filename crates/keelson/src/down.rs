//! `keelson down`: leaves no process, namespace, mount, control group, route or file.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use nix::{
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill},
};

use crate::{cgroups, network, progress::step, spec::Cluster, state, supervisor};

/// Removes the cluster.
pub async fn down(cluster: &Cluster) -> Result<()> {
    step("processes", end_processes(cluster)).await?;
    step("mounts", async { unmount(cluster) }).await?;
    let last = state::clusters()?.len() == 1;
    step("network", async {
        network::remove(cluster, last).await;
        Ok(())
    })
    .await?;
    step("control groups and files", async { remove_files(cluster) }).await
}

async fn end_processes(cluster: &Cluster) -> Result<()> {
    if let Some(pid) = supervisor::running(cluster) {
        // Nothing is to be started again, whatever the supervisor still sees.
        let _ = fs::remove_dir_all(cluster.run_dir().join("desired"));
        kill(pid, Signal::SIGTERM).context("end the supervisor")?;
        for _ in 0..300 {
            if supervisor::running(cluster).is_none() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if supervisor::running(cluster).is_some() {
            bail!("the supervisor (pid {pid}) does not end");
        }
    }
    cgroups::kill_all(&cluster.cgroup()).await
}

/// Unmounts what containers and volumes left, deepest first.
fn unmount(cluster: &Cluster) -> Result<()> {
    let table = fs::read_to_string("/proc/self/mounts")?;
    let roots = [cluster.state_dir(), cluster.run_dir()];
    let ours = |line: &str| {
        let path = line.split(' ').nth(1)?.replace("\\040", " ");
        roots.iter().any(|r| Path::new(&path).starts_with(r)).then_some(path)
    };
    for path in table.lines().filter_map(ours).collect::<Vec<_>>().into_iter().rev() {
        umount2(path.as_str(), MntFlags::MNT_DETACH).with_context(|| format!("unmount {path}"))?;
    }
    Ok(())
}

fn remove_files(cluster: &Cluster) -> Result<()> {
    cgroups::remove(&cluster.cgroup())?;
    remove_log_links(&cluster.state_dir());
    for dir in [cluster.run_dir(), cluster.log_dir(), cluster.state_dir()] {
        match fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(e).with_context(|| format!("remove {}", dir.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The kubelet links each container's log from a directory that all nodes share.
fn remove_log_links(state: &Path) {
    let Ok(entries) = fs::read_dir("/var/log/containers") else { return };
    for link in entries.filter_map(|e| e.ok().map(|e| e.path())) {
        if fs::read_link(&link).is_ok_and(|target| target.starts_with(state)) {
            let _ = fs::remove_file(&link);
        }
    }
}
