//! Plugins: `kubectl foo bar` runs `kubectl-foo-bar` or `kubectl-foo` from PATH, the longest name that exists.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use nix::unistd::AccessFlags;

use crate::error::Error;

/// A plugin that answers to the first `words` words.
pub(super) struct Plugin {
    pub(super) path: PathBuf,
    pub(super) words: usize,
}

/// Looks for the plugin with the longest name.
pub(super) fn find(words: &[String]) -> Option<Plugin> {
    let named: Vec<String> = words.iter().take_while(|w| !w.starts_with('-')).map(|w| w.replace('-', "_")).collect();
    (1..=named.len()).rev().find_map(|count| {
        let path = on_path(&format!("kubectl-{}", named[..count].join("-")))?;
        Some(Plugin { path, words: count })
    })
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| executable(file))
}

fn executable(file: &Path) -> bool {
    file.is_file() && nix::unistd::access(file, AccessFlags::X_OK).is_ok()
}

/// Every plugin on PATH, in its order.
pub(crate) fn all() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = Vec::new();
    for dir in std::env::split_paths(&path) {
        // A directory of PATH that cannot be read has no plugins for us.
        let Ok(entries) = std::fs::read_dir(dir) else { continue };
        let mut here: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
        here.sort();
        found.extend(here.into_iter().filter(|p| {
            p.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with("kubectl-")) && executable(p)
        }));
    }
    found
}

/// Becomes the plugin; returns only when that fails.
pub(super) fn exec(path: &Path, args: &[String]) -> Error {
    let error = std::process::Command::new(path).args(args).exec();
    Error::Plain(format!("cannot run plugin {}: {error}", path.display()))
}
