//! The strategies name fields by text; this checks that every such name is a field of some type of the API.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use regex::Regex;

/// Names that no generated type has: keys of maps, and fields of schemas that only exist as JSON.
const OTHERS: [&str; 12] = [
    "stringData",
    "matchLabels",
    "storage",
    "volumeName",
    "zone",
    "openAPIV3Schema",
    "fileKeyRef",
    "x-kubernetes-validations",
    "kind",
    "apiVersion",
    "metadata",
    "basic",
];

#[test]
fn every_named_field_exists() {
    let mut known: BTreeSet<String> = OTHERS.iter().map(|s| (*s).to_owned()).collect();
    for of in api_types::schema::all() {
        known.extend(of.flat().iter().map(|f| f.name.to_string()));
    }
    let cursor = Regex::new(r#"\.(?:get|has|dig|str_of|bool_of)\(\s*"([A-Za-z0-9_.$-]+)"\s*\)"#).unwrap();
    let edit = Regex::new(r#"\b(?:set|set_zero|ensure|within|each|drop_key|text)\(\s*[a-z_&]+,\s*"([A-Za-z0-9_.-]+)""#)
        .unwrap();
    let mut found = 0;
    let mut unknown = BTreeSet::new();
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let path = file.to_string_lossy().into_owned();
        if ["/apply/", "/patch/", "/table/", "/convert/"].iter().any(|p| path.contains(p)) {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap_or("");
        for name in cursor.captures_iter(text).chain(edit.captures_iter(text)).map(|c| c[1].to_owned()) {
            found += 1;
            if !name.split('.').all(|part| known.contains(part)) {
                unknown.insert(format!("{}: {name}", file.file_name().unwrap().to_string_lossy()));
            }
        }
    }
    assert!(found > 1000, "only {found} names were found: the patterns no longer fit the code");
    assert!(unknown.is_empty(), "no such fields: {unknown:#?}");
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            out.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
    out
}
