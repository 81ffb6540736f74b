//! Generators of config maps and secrets.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::metadata;
use crate::cli::context::Context;
use crate::error::{Error, Result};
use crate::fail;

/// Keys and contents from `--from-file`, `--from-env-file` and `--from-literal`.
fn entries(cx: &Context) -> Result<Vec<(String, Vec<u8>)>> {
    let mut entries: Vec<(String, Vec<u8>)> = Vec::new();
    if cx.flags.changed("from-env-file") && (cx.flags.changed("from-file") || cx.flags.changed("from-literal")) {
        fail!("from-env-file cannot be combined with from-file or from-literal");
    }
    for source in cx.flags.list("from-file") {
        from_file(&source, &mut entries)?;
    }
    for literal in cx.flags.array("from-literal") {
        let Some((key, value)) = literal.split_once('=').filter(|(k, _)| !k.is_empty()) else {
            fail!("invalid literal source {literal}, expected key=value");
        };
        entries.push((key.to_owned(), unquoted(value).as_bytes().to_vec()));
    }
    for file in cx.flags.array("from-env-file") {
        from_env_file(file, &mut entries)?;
    }
    for (i, (key, _)) in entries.iter().enumerate() {
        let valid = !key.is_empty()
            && key.len() <= 253
            && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if !valid {
            fail!(
                "{key:?} is not a valid key name: a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
            );
        }
        if entries[..i].iter().any(|(k, _)| k == key) {
            fail!("cannot add key {key}, another key by that name already exists");
        }
    }
    Ok(entries)
}

fn unquoted(value: &str) -> &str {
    let inner = |q: char| value.strip_prefix(q).and_then(|v| v.strip_suffix(q));
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| {
        let why = if e.kind() == std::io::ErrorKind::NotFound {
            "no such file or directory".to_owned()
        } else {
            e.to_string()
        };
        Error::Plain(format!("error reading {}: {why}", path.display()))
    })
}

fn from_file(source: &str, entries: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    let (key, path) = match source.split_once('=') {
        Some((key, path)) if !key.is_empty() && !path.is_empty() => (Some(key), path),
        Some(_) => fail!("key name or file path for file path {source} missing"),
        None => (None, source),
    };
    let path = Path::new(path);
    if path.is_dir() {
        if key.is_some() {
            fail!("cannot give a key name for a directory path");
        }
        let mut files: Vec<_> =
            std::fs::read_dir(path)?.map(|e| e.map(|e| e.path())).collect::<std::io::Result<_>>()?;
        files.sort();
        for file in files.iter().filter(|f| f.is_file()) {
            entries.push((base_name(file), read(file)?));
        }
        return Ok(());
    }
    entries.push((key.map_or_else(|| base_name(path), str::to_owned), read(path)?));
    Ok(())
}

fn base_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

fn from_env_file(file: &str, entries: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    let bytes = read(Path::new(file))?;
    for line in String::from_utf8_lossy(&bytes).lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once('=') {
            Some((key, value)) => entries.push((key.to_owned(), value.as_bytes().to_vec())),
            // A bare name takes its value from the environment, when it is there.
            None => entries.extend(std::env::var(line).ok().map(|v| (line.to_owned(), v.into_bytes()))),
        }
    }
    Ok(())
}

pub(super) fn configmap(cx: &Context, name: &str) -> Result<Value> {
    refuse_hash(cx)?;
    let (mut data, mut binary) = (Map::new(), Map::new());
    for (key, bytes) in entries(cx)? {
        match String::from_utf8(bytes) {
            Ok(text) => data.insert(key, json!(text)),
            Err(e) => binary.insert(key, json!(STANDARD.encode(e.as_bytes()))),
        };
    }
    let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(name)});
    if !data.is_empty() {
        object["data"] = Value::Object(data);
    }
    if !binary.is_empty() {
        object["binaryData"] = Value::Object(binary);
    }
    Ok(object)
}

fn refuse_hash(cx: &Context) -> Result<()> {
    if cx.flags.bool("append-hash") {
        fail!("--append-hash is not supported by this kubectl");
    }
    Ok(())
}

fn secret_of(name: &str, kind: Option<&str>, entries: Vec<(String, Vec<u8>)>) -> Value {
    let mut object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata(name)});
    for (key, bytes) in entries {
        object["data"][key] = json!(STANDARD.encode(bytes));
    }
    if let Some(kind) = kind {
        object["type"] = json!(kind);
    }
    object
}

pub(super) fn secret(cx: &Context, name: &str) -> Result<Value> {
    refuse_hash(cx)?;
    Ok(secret_of(name, cx.flags.opt("type"), entries(cx)?))
}

pub(super) fn tls(cx: &Context, name: &str) -> Result<Value> {
    let file = |flag: &str| {
        let path = cx.flags.require(flag)?;
        std::fs::read(path)
            .map_err(|_| Error::Plain(format!("Cannot read file {path}, open {path}: no such file or directory")))
    };
    let (certificate, key) = (file("cert")?, file("key")?);
    Ok(secret_of(
        name,
        Some("kubernetes.io/tls"),
        vec![("tls.crt".to_owned(), certificate), ("tls.key".to_owned(), key)],
    ))
}

pub(super) fn docker(cx: &Context, name: &str) -> Result<Value> {
    const KIND: &str = "kubernetes.io/dockerconfigjson";
    if cx.flags.changed("from-file") {
        let mut found = Vec::new();
        for source in cx.flags.list("from-file") {
            from_file(&source, &mut found)?;
        }
        return Ok(secret_of(name, Some(KIND), found));
    }
    let (user, password, email) =
        (cx.flags.text("docker-username"), cx.flags.text("docker-password"), cx.flags.text("docker-email"));
    if user.is_empty() || password.is_empty() {
        fail!(
            "either --from-file or the combination of --docker-username, --docker-password and --docker-server is required"
        );
    }
    // In the order in which docker writes them.
    let mut entry = format!("{{\"username\":{},\"password\":{}", json!(user), json!(password));
    if !email.is_empty() {
        entry.push_str(&format!(",\"email\":{}", json!(email)));
    }
    entry.push_str(&format!(",\"auth\":{}}}", json!(STANDARD.encode(format!("{user}:{password}")))));
    let config = format!("{{\"auths\":{{{}:{entry}}}}}", json!(cx.flags.text("docker-server")));
    Ok(secret_of(name, Some(KIND), vec![(".dockerconfigjson".to_owned(), config.into_bytes())]))
}
