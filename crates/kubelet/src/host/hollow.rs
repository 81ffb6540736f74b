//! A machine that is not there: for hollow nodes and tests.

use super::{CgroupLimits, CgroupUsage, FsUsage, Host, Machine, PathKind, Payload};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

const GIB: u64 = 1 << 30;

/// Remembers files and cgroups in memory; mounts always succeed.
pub struct HollowHost {
    machine: Machine,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<PathBuf, Vec<u8>>,
    dirs: BTreeSet<PathBuf>,
    cgroups: BTreeMap<String, CgroupLimits>,
}

impl HollowHost {
    /// A machine of this size.
    pub fn new(name: &str, cpus: u64, memory: u64) -> Self {
        let machine = Machine {
            cpus,
            memory,
            machine_id: name.into(),
            system_uuid: name.into(),
            boot_id: name.into(),
            kernel_version: "6.1.0".into(),
            os_image: "Hollow".into(),
            architecture: "amd64".into(),
            swap: 0,
            cgroup_v2: true,
        };
        Self { machine, state: Mutex::default() }
    }

    /// The limits of a cgroup, where it exists.
    pub fn cgroup(&self, name: &str) -> Option<CgroupLimits> {
        self.state.lock().cgroups.get(name).cloned()
    }
}

/// Whether `path` is `dir` or below it.
fn within(path: &Path, dir: &Path) -> bool {
    path.starts_with(dir)
}

#[async_trait]
impl Host for HollowHost {
    async fn machine(&self) -> io::Result<Machine> {
        Ok(self.machine.clone())
    }

    async fn fs_usage(&self, _path: &Path) -> io::Result<FsUsage> {
        Ok(FsUsage { capacity: 100 * GIB, available: 80 * GIB, inodes: 1 << 20, inodes_free: 1 << 19 })
    }

    async fn pids(&self) -> io::Result<(u64, u64)> {
        Ok((100, 32768))
    }

    async fn make_dir(&self, path: &Path, _mode: u32) -> io::Result<()> {
        let mut state = self.state.lock();
        for dir in path.ancestors() {
            state.dirs.insert(dir.to_path_buf());
        }
        Ok(())
    }

    async fn write(&self, path: &Path, data: &[u8], _mode: u32) -> io::Result<()> {
        self.state.lock().files.insert(path.to_path_buf(), data.to_vec());
        Ok(())
    }

    async fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        Ok(self.state.lock().files.get(path).cloned())
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        let children = state.files.keys().chain(&state.dirs).filter(|child| child.parent() == Some(path));
        let names: BTreeSet<String> =
            children.filter_map(|child| child.file_name()).map(|name| name.to_string_lossy().into_owned()).collect();
        Ok(names.into_iter().collect())
    }

    async fn symlink(&self, _target: &Path, _link: &Path) -> io::Result<()> {
        Ok(())
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let data = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_path_buf(), data);
        Ok(())
    }

    async fn size(&self, path: &Path) -> io::Result<Option<u64>> {
        Ok(self.state.lock().files.get(path).map(|data| data.len() as u64))
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.files.retain(|file, _| !within(file, path));
        state.dirs.retain(|dir| !within(dir, path));
        Ok(())
    }

    async fn kind(&self, path: &Path) -> io::Result<PathKind> {
        let state = self.state.lock();
        Ok(match (state.files.contains_key(path), state.dirs.contains(path)) {
            (true, _) => PathKind::File,
            (_, true) => PathKind::Directory,
            _ => PathKind::Absent,
        })
    }

    async fn publish(&self, dir: &Path, payload: &Payload) -> io::Result<()> {
        let mut state = self.state.lock();
        state.files.retain(|file, _| !within(file, dir));
        for (name, file) in payload {
            state.files.insert(dir.join(name), file.data.clone());
        }
        Ok(())
    }

    async fn set_group(&self, _dir: &Path, _gid: u32) -> io::Result<()> {
        Ok(())
    }

    async fn mount_tmpfs(&self, _dir: &Path, _size: Option<u64>) -> io::Result<()> {
        Ok(())
    }

    async fn bind_subpath(&self, _volume: &Path, _subpath: &str, _target: &Path) -> io::Result<()> {
        Ok(())
    }

    async fn ensure_cgroup(&self, name: &str, limits: &CgroupLimits) -> io::Result<()> {
        self.state.lock().cgroups.insert(name.into(), limits.clone());
        Ok(())
    }

    async fn remove_cgroup(&self, name: &str) -> io::Result<()> {
        self.state.lock().cgroups.remove(name);
        Ok(())
    }

    async fn child_cgroups(&self, name: &str) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        let parent = Path::new(name);
        let children = state.cgroups.keys().map(Path::new).filter(|child| child.parent() == Some(parent));
        Ok(children.filter_map(|child| child.file_name()).map(|name| name.to_string_lossy().into_owned()).collect())
    }

    async fn cgroup_usage(&self, name: &str) -> io::Result<Option<CgroupUsage>> {
        Ok(self.state.lock().cgroups.contains_key(name).then(CgroupUsage::default))
    }
}
