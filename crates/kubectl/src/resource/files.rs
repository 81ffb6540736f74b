//! `-f`: files, directories and stdin to objects.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::Info;
use crate::cli::context::Context;
use crate::error::{Error, Result};
use crate::fail;

/// The objects of a text of YAML or JSON documents; lists are taken apart.
pub fn parse(text: &str, source: &str) -> Result<Vec<Value>> {
    let mut documents = Vec::new();
    if text.trim_start().starts_with('{') {
        for document in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
            documents.push(document.map_err(|e| Error::Plain(format!("error parsing {source}: json: {e}")))?);
        }
    } else {
        for document in serde_yaml::Deserializer::from_str(text) {
            let value = Value::deserialize(document).map_err(|e| {
                Error::Plain(format!("error parsing {source}: error converting YAML to JSON: yaml: {e}"))
            })?;
            documents.push(value);
        }
    }
    let mut objects = Vec::new();
    for document in documents.into_iter().filter(|d| !d.is_null()) {
        flatten(document, source, &mut objects)?;
    }
    Ok(objects)
}

fn flatten(document: Value, source: &str, objects: &mut Vec<Value>) -> Result<()> {
    let missing = |field: &str| {
        let text = super::super::output::compact_json(&document);
        Error::Plain(format!("unable to decode {source:?}: Object '{field}' is missing in '{text}'"))
    };
    let Some(kind) = document["kind"].as_str().filter(|k| !k.is_empty()) else { return Err(missing("Kind")) };
    if document["apiVersion"].as_str().is_none_or(str::is_empty) {
        return Err(missing("apiVersion"));
    }
    if kind.ends_with("List") && document["items"].is_array() {
        let Value::Object(mut map) = document else { return Ok(()) };
        if let Some(Value::Array(items)) = map.remove("items") {
            for item in items {
                flatten(item, source, objects)?;
            }
        }
        return Ok(());
    }
    objects.push(document);
    Ok(())
}

fn files_of(path: &Path, recursive: bool) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(path)?.map(|e| e.map(|e| e.path())).collect::<std::io::Result<_>>()?;
    entries.sort();
    let mut files = Vec::new();
    for entry in entries {
        if entry.is_dir() {
            if recursive {
                files.extend(files_of(&entry, true)?);
            }
        } else if entry.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json") {
            files.push(entry);
        }
    }
    Ok(files)
}

/// The documents of every file, with the name of their source.
pub fn read(filenames: &[String], recursive: bool) -> Result<Vec<(String, Value)>> {
    let mut all = Vec::new();
    for name in filenames {
        if name == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            all.extend(parse(&text, "STDIN")?.into_iter().map(|v| ("STDIN".to_owned(), v)));
            continue;
        }
        if name.starts_with("http://") || name.starts_with("https://") {
            fail!("reading manifests from a URL is not supported by this kubectl: download {name} and pass the file");
        }
        if !Path::new(name).exists() {
            fail!("the path {name:?} does not exist");
        }
        let files = files_of(Path::new(name), recursive)?;
        if files.is_empty() {
            fail!("error reading [{name}]: recognized file extensions are [.json .yaml .yml]");
        }
        for file in files {
            let source = file.display().to_string();
            let text =
                std::fs::read_to_string(&file).map_err(|e| Error::Plain(format!("error reading [{source}]: {e}")))?;
            all.extend(parse(&text, &source)?.into_iter().map(|v| (source.clone(), v)));
        }
    }
    Ok(all)
}

/// The objects of the files that `-f` names, each with its resource and namespace.
pub async fn load(cx: &Context) -> Result<Vec<Info>> {
    if cx.flags.opt("kustomize").is_some() {
        fail!("kustomize (-k) is not supported by this kubectl: render it elsewhere and pass the result with -f");
    }
    let filenames = cx.flags.list("filename");
    let mut infos = Vec::new();
    for (source, object) in read(&filenames, cx.flags.bool("recursive"))? {
        infos.push(resolve(cx, source, object).await?);
    }
    Ok(infos)
}

/// Gives an object its resource and, where it has none, the namespace of the command.
pub async fn resolve(cx: &Context, source: String, mut object: Value) -> Result<Info> {
    let api_version = object["apiVersion"].as_str().unwrap_or_default().to_owned();
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    let own = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    let (name, own_namespace) = (own("name"), own("namespace"));
    let Some(resource) = cx.resource_of(&api_version, &kind).await? else {
        fail!(
            "resource mapping not found for name: {name:?} namespace: {own_namespace:?} from {source:?}: no matches for kind {kind:?} in version {api_version:?}\nensure CRDs are installed first"
        );
    };
    let mut namespace = None;
    if resource.namespaced {
        let wanted = cx.namespace()?;
        if own_namespace.is_empty() {
            object["metadata"]["namespace"] = Value::String(wanted.clone());
            namespace = Some(wanted);
        } else if cx.flags.changed("namespace") && own_namespace != wanted {
            fail!(
                "the namespace from the provided object {own_namespace:?} does not match the namespace {wanted:?}. You must pass '--namespace={own_namespace}' to perform this operation."
            );
        } else {
            namespace = Some(own_namespace);
        }
    }
    Ok(Info { resource, namespace, name, object, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents() {
        let yaml = "---\n# only a comment\n---\nkind: A\napiVersion: v1\n---\nkind: List\napiVersion: v1\nitems:\n- {kind: B, apiVersion: v1}\n- {kind: C, apiVersion: v1}\n";
        let kinds: Vec<_> = parse(yaml, "f").unwrap().iter().map(|v| v["kind"].as_str().unwrap().to_owned()).collect();
        assert_eq!(kinds, ["A", "B", "C"]);
        assert_eq!(
            parse("{\"kind\":\"A\",\"apiVersion\":\"v1\"}\n{\"kind\":\"B\",\"apiVersion\":\"v1\"}", "f").unwrap().len(),
            2
        );
        assert_eq!(
            parse("a: b", "f").unwrap_err().report().0,
            "error: unable to decode \"f\": Object 'Kind' is missing in '{\"a\":\"b\"}'"
        );
    }

    #[test]
    fn directories() {
        let dir = tempfile::tempdir().unwrap();
        for (name, kind) in [("b.yaml", "B"), ("a.json", "A"), ("x.txt", "X"), ("sub/c.yml", "C")] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{{\"kind\": \"{kind}\", \"apiVersion\": \"v1\"}}")).unwrap();
        }
        let names = [dir.path().display().to_string()];
        let kinds = |recursive| {
            read(&names, recursive)
                .unwrap()
                .into_iter()
                .map(|(_, v)| v["kind"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(kinds(false), ["A", "B"]);
        assert_eq!(kinds(true), ["A", "B", "C"]);
        assert_eq!(
            read(&["nope.yaml".to_owned()], false).unwrap_err().report().0,
            "error: the path \"nope.yaml\" does not exist"
        );
    }
}
