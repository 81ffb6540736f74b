//! Control groups, v1 and v2, through their file system.

use super::linux::meminfo_bytes;
use super::{CgroupLimits, CgroupUsage};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Controllers that v2 cgroups of pods need.
const V2_CONTROLLERS: &[&str] = &["cpuset", "cpu", "io", "memory", "pids", "hugetlb"];

/// How cgroups are mounted.
pub(super) enum Cgroups {
    /// One tree.
    V2(PathBuf),
    /// A tree per controller: name (or `name=systemd`) to mount point.
    V1(BTreeMap<String, PathBuf>),
}

/// A file is absent on kernels without the feature; the limit is then not enforced, as upstream has it.
fn write(path: &Path, value: impl ToString) -> io::Result<()> {
    match fs::write(path, value.to_string()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        answer => answer.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
    }
}

fn read_number(path: &Path) -> io::Result<u64> {
    fs::read_to_string(path)?.trim().parse().map_err(io::Error::other)
}

/// A line `key value` of a statistics file.
fn stat(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

impl Cgroups {
    /// Reads the mount table.
    pub(super) fn detect() -> io::Result<Self> {
        let text = fs::read_to_string("/proc/self/mountinfo")?;
        let mut v1 = BTreeMap::new();
        let mut v2 = None;
        for line in text.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(point) = left.split(' ').nth(4).map(PathBuf::from) else { continue };
            let mut fields = right.split(' ');
            match (fields.next(), fields.nth(1)) {
                (Some("cgroup2"), _) => v2 = v2.or(Some(point)),
                (Some("cgroup"), Some(options)) => {
                    for option in
                        options.split(',').filter(|option| !matches!(*option, "rw" | "ro" | "xattr" | "noprefix"))
                    {
                        if !option.starts_with("release_agent") && !option.starts_with("clone_children") {
                            v1.entry(option.to_owned()).or_insert_with(|| point.clone());
                        }
                    }
                }
                _ => {}
            }
        }
        match v2 {
            Some(point) if !v1.contains_key("memory") && !v1.contains_key("cpu") => Ok(Self::V2(point)),
            _ if !v1.is_empty() => Ok(Self::V1(v1)),
            _ => Err(io::Error::other("cgroups are not mounted")),
        }
    }

    pub(super) fn is_v2(&self) -> bool {
        matches!(self, Self::V2(_))
    }

    /// The directories of a cgroup, one per tree.
    fn dirs(&self, name: &str) -> Vec<PathBuf> {
        let name = name.trim_start_matches('/');
        match self {
            Self::V2(root) => vec![root.join(name)],
            Self::V1(trees) => {
                let mut dirs: Vec<PathBuf> = trees.values().map(|root| root.join(name)).collect();
                dirs.dedup();
                dirs
            }
        }
    }

    fn v1_dir(&self, controller: &str, name: &str) -> Option<PathBuf> {
        match self {
            Self::V1(trees) => trees.get(controller).map(|root| root.join(name.trim_start_matches('/'))),
            Self::V2(_) => None,
        }
    }

    pub(super) fn ensure(&self, name: &str, limits: &CgroupLimits) -> io::Result<()> {
        match self {
            Self::V2(root) => {
                create_v2(root, name)?;
                set_v2(&root.join(name.trim_start_matches('/')), limits)
            }
            Self::V1(trees) => {
                for dir in self.dirs(name) {
                    fs::create_dir_all(dir)?;
                }
                if let Some(root) = trees.get("cpuset") {
                    inherit_cpuset(root, name)?;
                }
                self.set_v1(name, limits)
            }
        }
    }

    fn set_v1(&self, name: &str, limits: &CgroupLimits) -> io::Result<()> {
        let set = |controller: &str, file: &str, value: String| match self.v1_dir(controller, name) {
            Some(dir) => write(&dir.join(file), value),
            None => Ok(()),
        };
        if let Some(shares) = limits.cpu_shares {
            set("cpu", "cpu.shares", shares.to_string())?;
        }
        if let Some(period) = limits.cpu_period {
            set("cpu", "cpu.cfs_period_us", period.to_string())?;
        }
        set("cpu", "cpu.cfs_quota_us", limits.cpu_quota.unwrap_or(-1).to_string())?;
        set("memory", "memory.limit_in_bytes", limits.memory.unwrap_or(-1).to_string())?;
        set("pids", "pids.max", limits.pids.map_or_else(|| "max".to_owned(), |pids| pids.to_string()))
    }

    /// Kills what runs in the cgroup and removes it with everything below.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        for dir in self.dirs(name) {
            remove_tree(&dir)?;
        }
        Ok(())
    }

    pub(super) fn children(&self, name: &str) -> io::Result<Vec<String>> {
        let mut names = std::collections::BTreeSet::new();
        for dir in self.dirs(name) {
            names.extend(
                child_dirs(&dir)?.iter().filter_map(|dir| Some(dir.file_name()?.to_string_lossy().into_owned())),
            );
        }
        Ok(names.into_iter().collect())
    }

    pub(super) fn usage(&self, name: &str) -> io::Result<Option<CgroupUsage>> {
        if name == "/" {
            return machine_usage().map(Some);
        }
        let read = || match self {
            Self::V2(root) => usage_v2(&root.join(name.trim_start_matches('/'))),
            Self::V1(_) => self.usage_v1(name),
        };
        match read() {
            Ok(usage) => Ok(Some(usage)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn usage_v1(&self, name: &str) -> io::Result<CgroupUsage> {
        let dir = |controller: &str| self.v1_dir(controller, name).ok_or(io::ErrorKind::NotFound);
        let memory = dir("memory")?;
        let stats = fs::read_to_string(memory.join("memory.stat"))?;
        let usage = read_number(&memory.join("memory.usage_in_bytes"))?;
        Ok(CgroupUsage {
            cpu_nanos: read_number(&dir("cpuacct")?.join("cpuacct.usage"))?,
            memory_usage: usage,
            memory_working_set: usage.saturating_sub(stat(&stats, "total_inactive_file")),
            memory_rss: stat(&stats, "total_rss"),
        })
    }
}

fn usage_v2(dir: &Path) -> io::Result<CgroupUsage> {
    let stats = fs::read_to_string(dir.join("memory.stat"))?;
    let usage = read_number(&dir.join("memory.current"))?;
    Ok(CgroupUsage {
        cpu_nanos: stat(&fs::read_to_string(dir.join("cpu.stat"))?, "usage_usec") * 1000,
        memory_usage: usage,
        memory_working_set: usage.saturating_sub(stat(&stats, "inactive_file")),
        memory_rss: stat(&stats, "anon"),
    })
}

/// The whole machine, from /proc.
fn machine_usage() -> io::Result<CgroupUsage> {
    /// The kernel counts processor time in hundredths of a second here.
    const TICK_NANOS: u64 = 10_000_000;
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let total = meminfo_bytes(&meminfo, "MemTotal");
    let usage = total.saturating_sub(meminfo_bytes(&meminfo, "MemFree"));
    let cpu = fs::read_to_string("/proc/stat")?;
    let ticks: Vec<u64> = (cpu.lines().next().unwrap_or_default().split_whitespace().skip(1))
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    // user, nice, system, (idle, iowait,) irq, softirq, steal
    let busy: u64 =
        ticks.iter().enumerate().filter(|(index, _)| matches!(index, 0..=2 | 5..=7)).map(|(_, ticks)| ticks).sum();
    Ok(CgroupUsage {
        cpu_nanos: busy * TICK_NANOS,
        memory_usage: usage,
        memory_working_set: usage.saturating_sub(meminfo_bytes(&meminfo, "Inactive(file)")),
        memory_rss: meminfo_bytes(&meminfo, "AnonPages"),
    })
}

/// Creates a v2 cgroup with the controllers handed down from the root.
fn create_v2(root: &Path, name: &str) -> io::Result<()> {
    let mut dir = root.to_path_buf();
    for part in Path::new(name.trim_start_matches('/')).components() {
        let available = fs::read_to_string(dir.join("cgroup.controllers"))?;
        let wanted: Vec<String> = (V2_CONTROLLERS.iter())
            .filter(|controller| available.split_whitespace().any(|have| have == **controller))
            .map(|controller| format!("+{controller}"))
            .collect();
        write(&dir.join("cgroup.subtree_control"), wanted.join(" "))?;
        dir.push(part);
        fs::create_dir_all(&dir)?;
    }
    Ok(())
}

/// v1 shares as v2 weight, as runc converts them.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

fn set_v2(dir: &Path, limits: &CgroupLimits) -> io::Result<()> {
    let or_max = |value: Option<i64>| value.map_or_else(|| "max".to_owned(), |value| value.to_string());
    if let Some(shares) = limits.cpu_shares {
        write(&dir.join("cpu.weight"), weight(shares))?;
    }
    write(&dir.join("cpu.max"), format!("{} {}", or_max(limits.cpu_quota), limits.cpu_period.unwrap_or(100_000)))?;
    write(&dir.join("memory.max"), or_max(limits.memory))?;
    write(&dir.join("pids.max"), or_max(limits.pids))
}

/// A v1 cpuset is unusable until it names processors and memory nodes: those of its parent.
fn inherit_cpuset(root: &Path, name: &str) -> io::Result<()> {
    let mut dir = root.to_path_buf();
    for part in Path::new(name.trim_start_matches('/')).components() {
        let parent = dir.clone();
        dir.push(part);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let own = fs::read_to_string(dir.join(file))?;
            if own.trim().is_empty() {
                fs::write(dir.join(file), fs::read_to_string(parent.join(file))?)?;
            }
        }
    }
    Ok(())
}

fn child_dirs(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut dirs = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            dirs.push(entry.path());
        }
    }
    Ok(dirs)
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    for child in child_dirs(dir)? {
        remove_tree(&child)?;
    }
    let processes = match fs::read_to_string(dir.join("cgroup.procs")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        answer => answer?,
    };
    for pid in processes.lines().filter_map(|line| line.parse().ok()) {
        // It may have ended meanwhile.
        let _ended = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    match fs::remove_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights() {
        assert_eq!((weight(2), weight(1024), weight(262_144)), (1, 39, 10_000));
    }

    #[test]
    fn a_v2_cgroup_gets_controllers_and_limits() {
        let root = std::env::temp_dir().join(format!("kubelet-cgroup-{}", std::process::id()));
        let pod = root.join("k/pod");
        fs::create_dir_all(&pod).unwrap();
        let files = ["cpu.weight", "cpu.max", "memory.max", "pids.max"];
        for (dir, file) in [(&root, "cgroup.subtree_control"), (&root.join("k"), "cgroup.subtree_control")] {
            fs::write(dir.join(file), "").unwrap();
            fs::write(dir.join("cgroup.controllers"), "cpu memory pids rdma").unwrap();
        }
        files.iter().for_each(|file| fs::write(pod.join(file), "").unwrap());
        let limits =
            CgroupLimits { cpu_shares: Some(1024), cpu_quota: Some(5000), memory: Some(7), ..CgroupLimits::default() };
        Cgroups::V2(root.clone()).ensure("/k/pod", &limits).unwrap();
        let read = |path: PathBuf| fs::read_to_string(path).unwrap();
        assert_eq!(read(root.join("cgroup.subtree_control")), "+cpu +memory +pids");
        assert_eq!(files.map(|file| read(pod.join(file))), ["39", "5000 100000", "7", "max"]);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn statistics() {
        assert_eq!(stat("anon 5\nanon_thp 7\n", "anon"), 5);
        assert_eq!(stat("anon_thp 7\n", "anon"), 0);
    }
}
