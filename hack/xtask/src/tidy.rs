//! What the compiler does not check: the layers of the crate graph, the size of files and functions, the presence of the
//! words that a reader needs.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// The layers of docs/ARCHITECTURE.md: a crate may use crates of lower layers only (and, where `peers` says so, of its own).
const LAYERS: &[(&str, u8)] = &[
    ("api-types", 0),
    ("kube-cel", 1),
    ("api-semantics", 2),
    ("component-helpers", 1),
    ("component-base", 1),
    ("storage", 1),
    ("streaming", 1),
    ("controller-runtime", 2),
    ("apiserver", 3),
    ("cloud-provider", 3),
    ("kube-apiserver", 4),
    ("kube-scheduler", 4),
    ("kube-controller-manager", 4),
    ("cloud-controller-manager", 4),
    ("kubelet", 4),
    ("kube-proxy", 4),
    ("kubectl", 4),
    ("keelson", 5),
    ("testkit", 6),
];

/// Crates that only the API server may use: everything else goes through the API. (`keelson` reads snapshots and makes
/// directories of them that no server has opened yet.)
const ONLY_FOR: &[(&str, &[&str])] = &[
    ("storage", &["apiserver", "kube-apiserver", "keelson", "testkit"]),
    ("apiserver", &["kube-apiserver", "testkit"]),
];

const MAX_FILE_LINES: usize = 800;
const MAX_FUNCTION_LINES: usize = 120;

/// Runs all checks and reports everything that is wrong.
pub(crate) fn run() -> Result<()> {
    let mut wrong = Vec::new();
    check_layers(&mut wrong)?;
    let sources = sources()?;
    for (path, text) in &sources {
        check_source(path, text, &mut wrong);
    }
    check_dependencies(&mut wrong)?;
    if !wrong.is_empty() {
        bail!("tidy: {} findings\n{}", wrong.len(), wrong.join("\n"));
    }
    println!("tidy: {} source files are in order", sources.len());
    Ok(())
}

fn check_layers(wrong: &mut Vec<String>) -> Result<()> {
    let layers: BTreeMap<&str, u8> = LAYERS.iter().copied().collect();
    for (name, dependencies) in crate_graph()? {
        let Some(layer) = layers.get(name.as_str()) else { continue };
        for dependency in dependencies {
            let Some(below) = layers.get(dependency.as_str()) else { continue };
            if below >= layer {
                wrong.push(format!("{name} (layer {layer}) uses {dependency} (layer {below}): arrows go down only"));
            }
            let exclusive = ONLY_FOR.iter().find(|(c, users)| *c == dependency && !users.contains(&name.as_str()));
            if exclusive.is_some() {
                wrong.push(format!("{name} uses {dependency}, which only the API server may"));
            }
        }
    }
    let known = |dir: &Path| layers.contains_key(dir.file_name().and_then(|n| n.to_str()).unwrap_or_default());
    for entry in fs::read_dir("crates").context("run at the top of the repository")? {
        let dir = entry?.path();
        if !known(&dir) {
            wrong.push(format!("{} has no layer in hack/xtask/src/tidy.rs", dir.display()));
        }
    }
    Ok(())
}

/// Licences and sources of dependencies (`deny.toml`), where cargo-deny is installed.
fn check_dependencies(wrong: &mut Vec<String>) -> Result<()> {
    if !Command::new("cargo").args(["deny", "--version"]).output()?.status.success() {
        println!("tidy: cargo-deny is not installed: licences and sources of dependencies are not checked");
        return Ok(());
    }
    let output = Command::new("cargo").args(["deny", "--offline", "check", "bans", "licenses", "sources"]).output()?;
    if !output.status.success() {
        wrong.push(format!("cargo deny:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(())
}

/// Our crates and which of them each depends on, tests' dependencies aside.
fn crate_graph() -> Result<BTreeMap<String, Vec<String>>> {
    let output = Command::new("cargo").args(["metadata", "--format-version=1", "--no-deps"]).output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("packages")?;
    let name = |v: &Value| v["name"].as_str().unwrap_or_default().to_owned();
    let used = |package: &Value| -> Vec<String> {
        let list = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().filter(|d| d["kind"].is_null() && !d["path"].is_null()).map(name).collect()
    };
    Ok(packages.iter().map(|p| (name(p), used(p))).collect())
}

/// All Rust sources of the repository.
fn sources() -> Result<Vec<(PathBuf, String)>> {
    let mut files = Vec::new();
    for top in ["crates", "hack", "tests"] {
        collect(Path::new(top), &mut files)?;
    }
    files.sort();
    files.into_iter().map(|p| fs::read_to_string(&p).map(|t| (p, t)).map_err(Into::into)).collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn check_source(path: &Path, text: &str, wrong: &mut Vec<String>) {
    let shown = path.display();
    let lines = text.lines().count();
    if lines > MAX_FILE_LINES {
        wrong.push(format!("{shown}: {lines} lines, at most {MAX_FILE_LINES}"));
    }
    let is_root = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
    if is_root && !text.starts_with("//!") {
        wrong.push(format!("{shown}: a crate begins with `//!` and says what it is"));
    }
    if path.ends_with("src/lib.rs") && path.starts_with("crates") && !text.contains("Invariant:") {
        wrong.push(format!("{shown}: the crate's `//!` ends with an `Invariant:` on what is deliberately absent"));
    }
    for (line, length) in long_functions(text) {
        wrong.push(format!("{shown}:{line}: a function of {length} lines, at most {MAX_FUNCTION_LINES}"));
    }
}

/// Functions longer than the limit: their first line and length. Relies on rustfmt's indentation.
fn long_functions(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, usize)> = None;
    for (number, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let starts = ["fn ", "pub fn ", "pub(crate) fn ", "pub(super) fn ", "async fn ", "pub async fn "];
        if open.is_none()
            && starts.iter().any(|s| line.trim_start().starts_with(s))
            && line.trim_end().ends_with(['{', '(', '>'])
        {
            open = Some((number, indent));
        } else if let Some((start, outer)) = open
            && indent == outer
            && line.trim_start().starts_with('}')
        {
            let length = number - start + 1;
            if length > MAX_FUNCTION_LINES {
                found.push((start + 1, length));
            }
            open = None;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_functions_are_found() {
        let body = "    x();\n".repeat(MAX_FUNCTION_LINES);
        let text = format!("fn short() {{\n    x();\n}}\n\npub fn long() {{\n{body}}}\n");
        assert_eq!(long_functions(&text), [(5, MAX_FUNCTION_LINES + 2)]);
    }
}
