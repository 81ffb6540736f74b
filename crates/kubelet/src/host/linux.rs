//! The real machine.
//!
//! Every call runs on a blocking thread: file systems may hang, and the kubelet's other work goes on then.

use super::atomic_writer;
use super::cgroup::Cgroups;
use super::mounts;
use super::{CgroupLimits, CgroupUsage, FsUsage, Host, Machine, PathKind, Payload};
use async_trait::async_trait;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files, mounts and cgroups of the machine that the process runs on.
pub struct LinuxHost {
    cgroups: Arc<Cgroups>,
}

impl LinuxHost {
    /// Looks at how cgroups are mounted.
    pub fn new() -> io::Result<Self> {
        Ok(Self { cgroups: Arc::new(Cgroups::detect()?) })
    }
}

/// Runs `work` where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// "Not found" is an answer, not a failure.
fn optional<T>(answer: io::Result<T>) -> io::Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_line(path: &str) -> io::Result<Option<String>> {
    Ok(optional(fs::read_to_string(path))?.map(|text| text.trim().to_owned()))
}

fn machine(cgroup_v2: bool) -> io::Result<Machine> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?.lines().filter(|line| line.starts_with("processor")).count();
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let os = optional(fs::read_to_string("/etc/os-release"))?.unwrap_or_default();
    let pretty = os.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let machine_id = read_line("/etc/machine-id")?.unwrap_or_default();
    // Readable for root only, and absent on some virtual machines.
    let uuid = read_line("/sys/class/dmi/id/product_uuid").ok().flatten().filter(|uuid| !uuid.is_empty());
    Ok(Machine {
        cpus: cpus.max(1) as u64,
        memory: meminfo_bytes(&meminfo, "MemTotal"),
        swap: meminfo_bytes(&meminfo, "SwapTotal"),
        system_uuid: uuid.unwrap_or_else(|| machine_id.clone()),
        machine_id,
        boot_id: read_line("/proc/sys/kernel/random/boot_id")?.unwrap_or_default(),
        kernel_version: read_line("/proc/sys/kernel/osrelease")?.unwrap_or_default(),
        os_image: pretty.unwrap_or("Linux").trim_matches('"').to_owned(),
        architecture: match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }
        .to_owned(),
        cgroup_v2,
    })
}

/// A line of /proc/meminfo in bytes; zero when the kernel does not have it.
pub(super) fn meminfo_bytes(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}

fn pids() -> io::Result<(u64, u64)> {
    let number = |text: &str| text.trim().parse::<u64>().map_err(io::Error::other);
    let loadavg = fs::read_to_string("/proc/loadavg")?;
    let total = loadavg.split_whitespace().nth(3).and_then(|part| part.split('/').nth(1)).unwrap_or("0");
    let max = number(&fs::read_to_string("/proc/sys/kernel/pid_max")?)?;
    let threads = number(&fs::read_to_string("/proc/sys/kernel/threads-max")?)?;
    Ok((number(total)?, max.min(threads)))
}

/// Writes a file beside its place and moves it there, so that nobody reads half of it.
fn write(path: &Path, data: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
    file.write_all(data)?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(mode))?;
    fs::rename(&temporary, path)
}

fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn list(path: &Path) -> io::Result<Vec<String>> {
    let Some(entries) = optional(fs::read_dir(path))? else { return Ok(Vec::new()) };
    let mut names: Vec<String> =
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<io::Result<_>>()?;
    names.sort();
    Ok(names)
}

fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    if optional(fs::read_link(link))?.is_some_and(|old| old == target) {
        return Ok(());
    }
    optional(fs::remove_file(link))?;
    std::os::unix::fs::symlink(target, link)
}

fn kind(path: &Path) -> io::Result<PathKind> {
    let Some(metadata) = optional(fs::metadata(path))? else { return Ok(PathKind::Absent) };
    let kind = metadata.file_type();
    Ok(match () {
        () if kind.is_dir() => PathKind::Directory,
        () if kind.is_file() => PathKind::File,
        () if kind.is_socket() => PathKind::Socket,
        () if kind.is_char_device() => PathKind::CharDevice,
        () if kind.is_block_device() => PathKind::BlockDevice,
        () => PathKind::Other,
    })
}

/// `fsGroup`: the group owns everything, may read and write it, and new files inherit it.
fn set_group(path: &Path, gid: u32) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    std::os::unix::fs::lchown(path, None, Some(gid))?;
    if metadata.is_symlink() {
        return Ok(());
    }
    let mode = metadata.permissions().mode();
    let wanted = if metadata.is_dir() { mode | 0o2770 } else { mode | 0o660 };
    if wanted != mode {
        fs::set_permissions(path, fs::Permissions::from_mode(wanted))?;
    }
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            set_group(&entry?.path(), gid)?;
        }
    }
    Ok(())
}

fn fs_usage(path: &Path) -> io::Result<FsUsage> {
    // The path may not exist yet; its nearest ancestor is on the same file system.
    let existing = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let stat = nix::sys::statvfs::statvfs(existing)?;
    let size = stat.fragment_size();
    Ok(FsUsage {
        capacity: stat.blocks() * size,
        available: stat.blocks_available() * size,
        inodes: stat.files(),
        inodes_free: stat.files_free(),
    })
}

#[async_trait]
impl Host for LinuxHost {
    async fn machine(&self) -> io::Result<Machine> {
        let v2 = self.cgroups.is_v2();
        blocking(move || machine(v2)).await
    }

    async fn fs_usage(&self, path: &Path) -> io::Result<FsUsage> {
        let path = path.to_owned();
        blocking(move || fs_usage(&path)).await
    }

    async fn pids(&self) -> io::Result<(u64, u64)> {
        blocking(pids).await
    }

    async fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        let path = path.to_owned();
        blocking(move || make_dir(&path, mode)).await
    }

    async fn write(&self, path: &Path, data: &[u8], mode: u32) -> io::Result<()> {
        let (path, data) = (path.to_owned(), data.to_vec());
        blocking(move || write(&path, &data, mode)).await
    }

    async fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let path = path.to_owned();
        blocking(move || optional(fs::read(path))).await
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let path = path.to_owned();
        blocking(move || list(&path)).await
    }

    async fn symlink(&self, target: &Path, link: &Path) -> io::Result<()> {
        let (target, link) = (target.to_owned(), link.to_owned());
        blocking(move || symlink(&target, &link)).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        blocking(move || fs::rename(from, to)).await
    }

    async fn size(&self, path: &Path) -> io::Result<Option<u64>> {
        let path = path.to_owned();
        blocking(move || Ok(optional(fs::metadata(path))?.map(|metadata| metadata.len()))).await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        let path = path.to_owned();
        blocking(move || mounts::remove_tree(&path)).await
    }

    async fn kind(&self, path: &Path) -> io::Result<PathKind> {
        let path = path.to_owned();
        blocking(move || kind(&path)).await
    }

    async fn publish(&self, dir: &Path, payload: &Payload) -> io::Result<()> {
        let (dir, payload) = (dir.to_owned(), payload.clone());
        let stamp = component_base::clock::now();
        blocking(move || atomic_writer::publish(&dir, &payload, stamp)).await
    }

    async fn set_group(&self, dir: &Path, gid: u32) -> io::Result<()> {
        let dir = dir.to_owned();
        blocking(move || set_group(&dir, gid)).await
    }

    async fn mount_tmpfs(&self, dir: &Path, size: Option<u64>) -> io::Result<()> {
        let dir = dir.to_owned();
        blocking(move || mounts::tmpfs(&dir, size)).await
    }

    async fn bind_subpath(&self, volume: &Path, subpath: &str, target: &Path) -> io::Result<()> {
        let (volume, subpath, target): (PathBuf, String, PathBuf) = (volume.into(), subpath.into(), target.into());
        blocking(move || mounts::bind_subpath(&volume, &subpath, &target)).await
    }

    async fn ensure_cgroup(&self, name: &str, limits: &CgroupLimits) -> io::Result<()> {
        let (cgroups, name, limits) = (self.cgroups.clone(), name.to_owned(), limits.clone());
        blocking(move || cgroups.ensure(&name, &limits)).await
    }

    async fn remove_cgroup(&self, name: &str) -> io::Result<()> {
        const TRIES: usize = 20;
        for round in 1..=TRIES {
            let (cgroups, name) = (self.cgroups.clone(), name.to_owned());
            // Killed processes take a moment to leave.
            match blocking(move || cgroups.remove(&name)).await {
                Err(error) if round < TRIES && error.kind() == io::ErrorKind::ResourceBusy => {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
                answer => return answer,
            }
        }
        Ok(())
    }

    async fn child_cgroups(&self, name: &str) -> io::Result<Vec<String>> {
        let (cgroups, name) = (self.cgroups.clone(), name.to_owned());
        blocking(move || cgroups.children(&name)).await
    }

    async fn cgroup_usage(&self, name: &str) -> io::Result<Option<CgroupUsage>> {
        let (cgroups, name) = (self.cgroups.clone(), name.to_owned());
        blocking(move || cgroups.usage(&name)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo() {
        let text = "MemTotal:       24000 kB\nSwapTotal:          0 kB\n";
        assert_eq!((meminfo_bytes(text, "MemTotal"), meminfo_bytes(text, "None")), (24000 * 1024, 0));
    }

    #[test]
    fn the_machine_is_described() {
        let machine = machine(false).unwrap();
        assert!(machine.cpus >= 1 && machine.memory > 1 << 20 && !machine.kernel_version.is_empty());
    }
}
