//! `TYPE`, `TYPE NAME`, `TYPE/NAME`, selectors: what the words of a command line select.

use serde_json::Value;

use super::{Info, files, list};
use crate::cli::context::Context;
use crate::client::Query;
use crate::discovery::Resource;
use crate::error::{Error, Result};
use crate::fail;

/// Said when nothing selects any object.
pub const NOTHING_GIVEN: &str = "You must provide one or more resources by argument or filename.\nExample resource specifications include:\n   '-f rsrc.yaml'\n   '--filename=rsrc.json'\n   '<resource> <name>'\n   '<resource>'";

/// A resource, and the one name when one was given.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The resource.
    pub resource: Resource,
    /// The name.
    pub name: Option<String>,
}

/// Splits words into pairs of type and name, without asking the server.
fn pairs(words: &[String]) -> Result<Vec<(String, Option<String>)>> {
    if words.iter().any(|w| w.contains('/')) {
        let mut pairs = Vec::new();
        for word in words {
            match word.split_once('/') {
                Some((kind, name)) if !kind.is_empty() && !name.is_empty() && !name.contains('/') => {
                    for kind in kind.split(',') {
                        pairs.push((kind.to_owned(), Some(name.to_owned())));
                    }
                }
                Some(_) => fail!("arguments in resource/name form may not have more than one slash"),
                None => fail!(
                    "there is no need to specify a resource type as a separate argument when passing arguments in resource/name form (e.g. 'kubectl get resource/<resource_name>' instead of 'kubectl get resource resource/<resource_name>'"
                ),
            }
        }
        return Ok(pairs);
    }
    let Some((types, names)) = words.split_first() else { return Ok(Vec::new()) };
    let mut pairs = Vec::new();
    for kind in types.split(',') {
        if kind.is_empty() {
            fail!("arguments must consist of a resource or a resource and name");
        }
        if names.is_empty() {
            pairs.push((kind.to_owned(), None));
        }
        pairs.extend(names.iter().map(|n| (kind.to_owned(), Some(n.clone()))));
    }
    Ok(pairs)
}

/// What the words want; categories such as `all` stand for their resources.
pub async fn wanted(cx: &Context, words: &[String]) -> Result<Vec<Wanted>> {
    let mut all = Vec::new();
    for (word, name) in pairs(words)? {
        match cx.find_resource(&word).await? {
            Some(resource) => all.push(Wanted { resource, name }),
            None => {
                let discovery = cx.discovery().await?;
                let members = discovery.category(&word);
                if members.is_empty() {
                    fail!("the server doesn't have a resource type {word:?}");
                }
                all.extend(members.into_iter().map(|r| Wanted { resource: r.clone(), name: name.clone() }));
            }
        }
    }
    Ok(all)
}

/// Which objects a command works on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Selection {
    /// A type alone means all its objects, even without `--all` or a selector.
    pub whole_types: bool,
    /// Take objects of files as they are there, not as they live.
    pub from_files: bool,
}

/// The query that the selector flags ask for.
pub fn selectors(cx: &Context) -> Query {
    Query::default()
        .with_opt("labelSelector", cx.flags.opt("selector"))
        .with_opt("fieldSelector", cx.flags.opt("field-selector"))
}

/// The objects that `words` and the flags `-f`, `-l`, `--all`, `-A` select. Failures of single objects are returned beside the others.
pub async fn objects(cx: &Context, words: &[String], selection: Selection) -> Result<(Vec<Info>, Vec<Error>)> {
    if cx.flags.changed("filename") || cx.flags.opt("kustomize").is_some() {
        if !words.is_empty() {
            fail!(
                "when paths, URLs, or stdin is provided as resource input, you may not specify resource arguments as well"
            );
        }
        return from_files(cx, selection).await;
    }
    if words.is_empty() {
        return Err(Error::Plain(NOTHING_GIVEN.to_owned()));
    }
    let selective = cx.flags.opt("selector").is_some() || cx.flags.opt("field-selector").is_some();
    let whole = selection.whole_types || selective || cx.flags.bool("all");
    let (mut infos, mut errors) = (Vec::new(), Vec::new());
    for wanted in wanted(cx, words).await? {
        if wanted.name.is_some() && selective {
            fail!("name cannot be provided when a selector is specified");
        }
        if wanted.name.is_none() && !whole {
            fail!("resource(s) were provided, but no name was specified");
        }
        match read(cx, &wanted).await {
            Ok(found) => infos.extend(found),
            Err(error @ Error::Status(_)) => errors.push(error),
            Err(other) => return Err(other),
        }
    }
    Ok((infos, errors))
}

async fn read(cx: &Context, wanted: &Wanted) -> Result<Vec<Info>> {
    let resource = &wanted.resource;
    let namespace = if resource.namespaced { Some(cx.namespace()?) } else { None };
    if let Some(name) = &wanted.name {
        if cx.flags.bool("all-namespaces") && resource.namespaced {
            fail!("a resource cannot be retrieved by name across all namespaces");
        }
        let object = cx.client()?.get(&resource.object_path(namespace.as_deref(), name)).await?;
        return Ok(vec![Info {
            resource: resource.clone(),
            namespace,
            name: name.clone(),
            object,
            source: String::new(),
        }]);
    }
    let namespace = namespace.filter(|_| !cx.flags.bool("all-namespaces"));
    let mut found = list(cx, resource, namespace.as_deref(), &selectors(cx), 500).await?;
    let Value::Array(items) = found["items"].take() else { return Ok(Vec::new()) };
    Ok(items.into_iter().map(|item| Info::of_item(resource, item)).collect())
}

async fn from_files(cx: &Context, selection: Selection) -> Result<(Vec<Info>, Vec<Error>)> {
    let mut infos = files::load(cx).await?;
    let mut errors = Vec::new();
    if !selection.from_files {
        let mut live = Vec::new();
        for mut info in infos {
            match info.fetch(cx).await {
                Ok(object) => {
                    info.object = object;
                    live.push(info);
                }
                Err(error @ Error::Status(_)) => errors.push(error),
                Err(other) => return Err(other),
            }
        }
        infos = live;
    }
    Ok((infos, errors))
}

/// The one object that a word names: `pod/a`, `deploy/b`, or the name of a pod.
pub async fn one(cx: &Context, word: &str, default_type: &str) -> Result<Info> {
    let words = if word.contains('/') { vec![word.to_owned()] } else { vec![default_type.to_owned(), word.to_owned()] };
    let (mut infos, errors) = objects(cx, &words, Selection::default()).await?;
    Error::collect(errors)?;
    if infos.len() != 1 {
        fail!("expected one object, got {}", infos.len());
    }
    Ok(infos.remove(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> std::result::Result<Vec<String>, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        pairs(&words)
            .map(|p| p.into_iter().map(|(t, n)| n.map_or(t.clone(), |n| format!("{t}:{n}"))).collect())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn words_select() {
        for (line, want) in [
            ("pods", &["pods"][..]),
            ("pods a b", &["pods:a", "pods:b"]),
            ("pod/a deploy/b", &["pod:a", "deploy:b"]),
            ("po,svc", &["po", "svc"]),
            ("po,svc a", &["po:a", "svc:a"]),
        ] {
            assert_eq!(said(line).unwrap(), want, "{line}");
        }
        for bad in ["pods pods/a", "pods/a b", "pods/a/b", "pods/", "po,,svc"] {
            assert!(said(bad).is_err(), "{bad}");
        }
    }
}
