//! The machine as the kubelet sees it: files, mounts, cgroups and facts, as a dyn-safe trait.
//!
//! [`linux::LinuxHost`] is the real one. [`hollow::HollowHost`] touches no disk: what is written is remembered by path only
//! as far as the kubelet reads it back, and cgroups and mounts always succeed.

mod atomic_writer;
mod cgroup;
pub mod hollow;
pub mod linux;
mod mounts;

use async_trait::async_trait;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

pub use hollow::HollowHost;
pub use linux::LinuxHost;

/// Facts about the machine, for the node's capacity and `nodeInfo`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// Logical processors.
    pub cpus: u64,
    /// Memory in bytes.
    pub memory: u64,
    /// Swap in bytes.
    pub swap: u64,
    /// /etc/machine-id.
    pub machine_id: String,
    /// The product UUID of the firmware, else the machine id.
    pub system_uuid: String,
    /// Changes at each boot.
    pub boot_id: String,
    /// `uname -r`.
    pub kernel_version: String,
    /// PRETTY_NAME of /etc/os-release.
    pub os_image: String,
    /// Go's name of the architecture ("amd64").
    pub architecture: String,
    /// Whether cgroups are v2 (unified).
    pub cgroup_v2: bool,
}

/// Room on a file system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FsUsage {
    /// Size in bytes.
    pub capacity: u64,
    /// Free for unprivileged use, in bytes.
    pub available: u64,
    /// All inodes.
    pub inodes: u64,
    /// Free inodes.
    pub inodes_free: u64,
}

/// What a cgroup used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CgroupUsage {
    /// Processor time since the cgroup's creation, in nanoseconds.
    pub cpu_nanos: u64,
    /// Memory charged, in bytes.
    pub memory_usage: u64,
    /// Memory that can't be dropped under pressure: usage less inactive file pages.
    pub memory_working_set: u64,
    /// Anonymous memory, in bytes.
    pub memory_rss: u64,
}

/// Limits of a pod's or QoS class's cgroup; none leaves the kernel's default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CgroupLimits {
    /// Relative weight, in v1 shares.
    pub cpu_shares: Option<u64>,
    /// Quota in microseconds per period.
    pub cpu_quota: Option<i64>,
    /// Period in microseconds.
    pub cpu_period: Option<u64>,
    /// Memory limit in bytes.
    pub memory: Option<i64>,
    /// Process limit.
    pub pids: Option<i64>,
}

/// One file of an atomically written volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileProjection {
    /// Its content.
    pub data: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Owner other than root (tokens of non-root containers).
    pub uid: Option<u32>,
    /// Group other than root's (`fsGroup`).
    pub gid: Option<u32>,
}

/// The files of an atomically written volume by relative path.
pub type Payload = BTreeMap<String, FileProjection>;

/// What is found at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    /// Nothing.
    Absent,
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A unix socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// Something else.
    Other,
}

/// Files, mounts, cgroups and facts of one machine.
#[async_trait]
pub trait Host: Send + Sync + 'static {
    /// Facts about the machine.
    async fn machine(&self) -> io::Result<Machine>;
    /// Room on the file system that holds `path`.
    async fn fs_usage(&self, path: &Path) -> io::Result<FsUsage>;
    /// Processes on the machine and their limit.
    async fn pids(&self) -> io::Result<(u64, u64)>;

    /// Creates a directory and its parents; the last gets `mode`.
    async fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// Writes a file, replacing what was there.
    async fn write(&self, path: &Path, data: &[u8], mode: u32) -> io::Result<()>;
    /// A file's content; none when it is absent.
    async fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;
    /// The names in a directory, sorted; empty when it is absent.
    async fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Makes (or redirects) a symbolic link.
    async fn symlink(&self, target: &Path, link: &Path) -> io::Result<()>;
    /// Renames a file.
    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// A file's size; none when it is absent.
    async fn size(&self, path: &Path) -> io::Result<Option<u64>>;
    /// Removes a file or tree, unmounting what is mounted in it first. Absent is fine.
    async fn remove(&self, path: &Path) -> io::Result<()>;
    /// What is at a path (links followed).
    async fn kind(&self, path: &Path) -> io::Result<PathKind>;

    /// Makes a volume's content `payload`, atomically for its readers (`..data`).
    async fn publish(&self, dir: &Path, payload: &Payload) -> io::Result<()>;
    /// Gives a volume to a group, as `fsGroup` asks.
    async fn set_group(&self, dir: &Path, gid: u32) -> io::Result<()>;
    /// Mounts a tmpfs unless one is mounted there.
    async fn mount_tmpfs(&self, dir: &Path, size: Option<u64>) -> io::Result<()>;
    /// Binds `subpath` inside `volume` (never outside of it, whatever links it holds) to `target`; creates a missing directory.
    async fn bind_subpath(&self, volume: &Path, subpath: &str, target: &Path) -> io::Result<()>;

    /// Creates a cgroup (in every controller) and sets its limits.
    async fn ensure_cgroup(&self, name: &str, limits: &CgroupLimits) -> io::Result<()>;
    /// Kills what is left in a cgroup and removes it. Absent is fine.
    async fn remove_cgroup(&self, name: &str) -> io::Result<()>;
    /// Names of the cgroups directly below this one.
    async fn child_cgroups(&self, name: &str) -> io::Result<Vec<String>>;
    /// What a cgroup used; none when it is absent.
    async fn cgroup_usage(&self, name: &str) -> io::Result<Option<CgroupUsage>>;
}
