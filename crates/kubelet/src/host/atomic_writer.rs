//! Volumes whose content changes at once for all readers.
//!
//! The layout is upstream's: the files are in a dated directory, `..data` links to it, and every name in the volume links into
//! `..data`; a new content is a new directory and a rename of the link.

use super::{FileProjection, Payload};
use api_types::k8s_openapi::jiff::Timestamp;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Component, Path};

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";

/// Makes the content of `dir` exactly `payload`.
pub(super) fn publish(dir: &Path, payload: &Payload, now: Timestamp) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    check_names(payload)?;
    let data = dir.join(DATA);
    let old = fs::read_link(&data).ok();
    if old.is_some() && is_current(&data, payload)? {
        return Ok(());
    }
    let name = format!("..{}", now.strftime("%Y_%m_%d_%H_%M_%S.%9f"));
    let fresh = dir.join(&name);
    fs::create_dir_all(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
    for (path, file) in payload {
        write(&fresh.join(path), file)?;
    }
    let link = dir.join(NEW_DATA);
    match fs::remove_file(&link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(&name, &link)?;
    fs::rename(&link, &data)?;
    link_names(dir, payload)?;
    if let Some(old) = old.filter(|old| old != Path::new(&name)) {
        fs::remove_dir_all(dir.join(old))?;
    }
    Ok(())
}

fn check_names(payload: &Payload) -> io::Result<()> {
    for name in payload.keys() {
        let path = Path::new(name);
        let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain || name.starts_with("..") || name.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("invalid path {name:?} in a volume")));
        }
    }
    Ok(())
}

fn is_current(data: &Path, payload: &Payload) -> io::Result<bool> {
    let mut found = BTreeSet::new();
    walk(data, Path::new(""), &mut found)?;
    if !found.iter().eq(payload.keys()) {
        return Ok(false);
    }
    for (name, file) in payload {
        let path = data.join(name);
        if fs::read(&path)? != file.data || fs::metadata(&path)?.permissions().mode() & 0o777 != file.mode & 0o777 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn walk(root: &Path, at: &Path, found: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(at))? {
        let entry = entry?;
        let path = at.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => walk(root, &path, found)?,
            false => drop(found.insert(path.to_string_lossy().into_owned())),
        }
    }
    Ok(())
}

fn write(path: &Path, file: &FileProjection) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
        fs::set_permissions(parent, fs::Permissions::from_mode(0o755))?;
    }
    fs::write(path, &file.data)?;
    fs::set_permissions(path, fs::Permissions::from_mode(file.mode))?;
    if file.uid.is_some() || file.gid.is_some() {
        chown(path, file.uid, file.gid)?;
    }
    Ok(())
}

/// The first part of every path is a link into `..data`; names that are no longer there go.
fn link_names(dir: &Path, payload: &Payload) -> io::Result<()> {
    let wanted: BTreeSet<&str> = payload.keys().filter_map(|name| name.split('/').next()).collect();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !wanted.contains(name.as_str()) {
            fs::remove_file(entry.path())?;
        }
    }
    for name in wanted {
        let link = dir.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), &link)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |text: &str| FileProjection { data: text.into(), mode: 0o640, uid: None, gid: None };
        files.iter().map(|(name, text)| ((*name).to_owned(), file(text))).collect()
    }

    #[test]
    fn content_is_replaced_as_a_whole() {
        let dir = std::env::temp_dir().join(format!("kubelet-atomic-{}", std::process::id()));
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        publish(&dir, &payload(&[("a", "1"), ("sub/b", "2")]), at(1)).unwrap();
        assert_eq!(fs::read_to_string(dir.join("sub/b")).unwrap(), "2");
        let first = fs::read_link(dir.join(DATA)).unwrap();
        publish(&dir, &payload(&[("a", "1"), ("sub/b", "2")]), at(2)).unwrap();
        assert_eq!(fs::read_link(dir.join(DATA)).unwrap(), first, "the same content is not written again");
        publish(&dir, &payload(&[("a", "3"), ("c", "4")]), at(3)).unwrap();
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "3");
        assert!(!dir.join("sub").exists() && dir.join("c").exists() && !dir.join(first).exists());
        assert!(publish(&dir, &payload(&[("../x", "")]), at(4)).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
