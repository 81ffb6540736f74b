//! Changes to kubeconfig files: each entry is changed in the file that it came from, a new one goes into the first file.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Kubeconfig, SECTIONS, empty, read};
use crate::error::{Error, Result};

/// The file in which an entry lives, or would be created.
pub fn file_of(config: &Kubeconfig, section: &str, name: &str) -> PathBuf {
    let origin = config.origins.get(&(section.to_owned(), name.to_owned()));
    origin.cloned().unwrap_or_else(|| default_file(config))
}

/// The file for what lives nowhere yet: the last of the list that exists, or the last of the list.
pub fn default_file(config: &Kubeconfig) -> PathBuf {
    let existing = config.files.iter().find(|f| f.exists());
    existing.or(config.files.last()).cloned().unwrap_or_default()
}

/// The file that holds the current context.
pub fn current_file(config: &Kubeconfig) -> PathBuf {
    config.current_origin.clone().unwrap_or_else(|| default_file(config))
}

/// Changes one file in place; it is created when it does not exist.
pub fn change(path: &Path, edit: impl FnOnce(&mut Value)) -> Result<()> {
    let mut content = read(path)?.unwrap_or_else(empty);
    edit(&mut content);
    for (key, value) in [("apiVersion", json!("v1")), ("kind", json!("Config")), ("preferences", json!({}))] {
        if content.get(key).is_none() {
            content[key] = value;
        }
    }
    for (section, _) in SECTIONS {
        if content.get(section).is_none() {
            content[section] = Value::Null;
        }
        if let Some(list) = content[section].as_array_mut() {
            list.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
        }
    }
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    write_private(path, &crate::output::yaml::to_string(&content))
}

/// Replaces the file as a whole, readable by its owner only: it holds credentials.
fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".kubeconfig").tempfile_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.persist(path).map_err(|e| Error::Plain(e.error.to_string()))?;
    Ok(())
}

/// The content of an entry of one file, created empty when it is absent.
pub fn entry<'a>(content: &'a mut Value, section: &str, name: &str) -> &'a mut Value {
    let key = SECTIONS.iter().find(|(s, _)| *s == section).map_or("", |(_, k)| *k);
    if !content[section].is_array() {
        content[section] = json!([]);
    }
    let list = content[section].as_array().map_or(0, Vec::len);
    let at = content[section].as_array().and_then(|l| l.iter().position(|e| e["name"] == name));
    let at = at.unwrap_or_else(|| {
        if let Some(l) = content[section].as_array_mut() {
            l.push(json!({"name": name, key: {}}));
        }
        list
    });
    &mut content[section][at][key]
}

/// Removes an entry of one file.
pub fn remove(content: &mut Value, section: &str, name: &str) {
    if let Some(list) = content[section].as_array_mut() {
        list.retain(|e| e["name"] != name);
    }
}
