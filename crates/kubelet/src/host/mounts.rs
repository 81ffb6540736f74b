//! Mounts below the kubelet's directory, and removal of directories that may hold some.

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, mkdirat};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// Mount points at or below `dir`, innermost last.
fn below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    let points = text.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| PathBuf::from(unescape(point)));
    Ok(points.filter(|point| point.starts_with(dir)).collect())
}

/// `\040` and the like.
fn unescape(text: &str) -> String {
    let mut out = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let octal =
            text.get(at + 1..at + 4).filter(|_| bytes[at] == b'\\').and_then(|code| u8::from_str_radix(code, 8).ok());
        out.push(octal.unwrap_or(bytes[at]));
        at += if octal.is_some() { 4 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Unmounts what is mounted in `path` and removes it. Nothing is removed while something is still mounted there: that could
/// be someone's data.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    for point in below(path)?.iter().rev() {
        umount2(point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)?;
    }
    if let Some(left) = below(path)?.first() {
        return Err(io::Error::other(format!("{} is still mounted", left.display())));
    }
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    match if metadata.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) } {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        answer => answer,
    }
}

/// Mounts a tmpfs unless something is mounted there.
pub(super) fn tmpfs(dir: &Path, size: Option<u64>) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    if below(dir)?.iter().any(|point| point == dir) {
        return Ok(());
    }
    let options = size.map(|size| format!("size={size}"));
    Ok(mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), options.as_deref())?)
}

/// Opens `path` inside `root`, with links resolved as if `root` were `/`: nothing outside of it can be reached.
fn open_inside(root: &OwnedFd, path: &Path) -> nix::Result<OwnedFd> {
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT);
    openat2(root, path, how)
}

/// Makes the directories of `path` that are missing, one level after the other, never leaving `root`.
fn create_inside(root: &OwnedFd, path: &Path) -> nix::Result<()> {
    let mut done = PathBuf::new();
    for part in path.components() {
        let Component::Normal(name) = part else { continue };
        let parent = if done.as_os_str().is_empty() { Path::new(".") } else { &done };
        let parent = open_inside(root, parent)?;
        match mkdirat(&parent, name, Mode::from_bits_truncate(0o750)) {
            Ok(()) | Err(nix::Error::EEXIST) => {}
            Err(error) => return Err(error),
        }
        done.push(name);
    }
    Ok(())
}

/// Binds `subpath` of `volume` to `target`.
pub(super) fn bind_subpath(volume: &Path, subpath: &str, target: &Path) -> io::Result<()> {
    let subpath = Path::new(subpath);
    if subpath.components().any(|part| part == Component::ParentDir) || subpath.is_absolute() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "subPath must be relative and must not contain '..'"));
    }
    let root: OwnedFd = File::open(volume)?.into();
    let inside = match open_inside(&root, subpath) {
        Err(nix::Error::ENOENT) => {
            create_inside(&root, subpath)?;
            open_inside(&root, subpath)?
        }
        answer => answer?,
    };
    // The descriptor pins what was found; the path may change from here on.
    let source = PathBuf::from(format!("/proc/self/fd/{}", inside.as_raw_fd()));
    let is_dir = fs::metadata(&source)?.is_dir();
    if below(target)?.iter().any(|point| point == target) {
        umount2(target, MntFlags::MNT_DETACH)?;
    }
    if is_dir {
        fs::create_dir_all(target)?;
    } else if !target.exists() {
        fs::create_dir_all(target.parent().unwrap_or(Path::new("/")))?;
        File::create(target)?;
    }
    let none: Option<&str> = None;
    Ok(mount(Some(&source), target, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        assert_eq!(unescape(r"/a\040b\134c"), r"/a b\c");
    }

    #[test]
    fn links_do_not_lead_out_of_a_volume() {
        let dir = std::env::temp_dir().join(format!("kubelet-mounts-{}", std::process::id()));
        let volume = dir.join("volume");
        fs::create_dir_all(volume.join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc", volume.join("out")).unwrap();
        let root: OwnedFd = File::open(&volume).unwrap().into();
        assert!(open_inside(&root, Path::new("out/passwd")).is_err(), "resolved inside, where there is no passwd");
        create_inside(&root, Path::new("a/b")).unwrap();
        assert!(volume.join("a/b").is_dir());
        assert!(bind_subpath(&volume, "../x", &dir.join("t")).is_err());
        remove_tree(&dir).unwrap();
        assert!(!dir.exists());
    }
}
