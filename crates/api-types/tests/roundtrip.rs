//! Every fixture type converts between JSON, YAML and protobuf byte for byte. The fixtures are recorded from upstream and
//! no part of the repository; the test says so when it is skipped.

use std::path::{Path, PathBuf};

use api_types::schema::{Schema, lookup, normalize};
use api_types::{json, protobuf, yaml};
use serde_json::Value;

fn golden() -> Option<PathBuf> {
    let root = std::env::var_os("KEELSON_GOLDEN")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden"), PathBuf::from);
    let here = root.join("roundtrip");
    if !here.is_dir() {
        eprintln!("SKIPPED: no fixtures at {}", here.display());
        return None;
    }
    Some(here)
}

/// `apps.v1.Deployment` → its schema. The fixtures name the core group `core`.
fn schema_of(name: &str) -> Schema {
    let (rest, kind) = name.rsplit_once('.').expect("a kind");
    let (group, version) = rest.rsplit_once('.').expect("a version");
    let group = if group == "core" { "" } else { group };
    lookup(group, version, kind).unwrap_or_else(|| panic!("no schema for {name}"))
}

fn first_difference(ours: &[u8], theirs: &[u8]) -> String {
    let at = ours.iter().zip(theirs).position(|(a, b)| a != b).unwrap_or(ours.len().min(theirs.len()));
    let cut =
        |b: &[u8]| String::from_utf8_lossy(&b[at.saturating_sub(60).min(b.len())..(at + 60).min(b.len())]).into_owned();
    format!("at byte {at}:\n  ours   {:?}\n  theirs {:?}", cut(ours), cut(theirs))
}

fn check(name: &str, form: &str, ours: &[u8], theirs: &[u8], failures: &mut Vec<String>) {
    if ours != theirs {
        failures.push(format!("{name} {form} {}", first_difference(ours, theirs)));
    }
}

/// A canonical message prints as its value does, also when some of its fields are gone.
fn check_printing(name: &str, value: &Value, schema: &Schema, failures: &mut Vec<String>) {
    let Schema::Struct(of) = schema else { return };
    if !value["metadata"].is_object() || value.get("items").is_some() {
        return;
    }
    let mut draw = 1u64;
    for round in 0..40 {
        let mut object = value.clone();
        if round > 0 {
            thin_out(&mut object, &mut draw);
        }
        for typed in ["kind", "apiVersion", "metadata"] {
            object[typed] = if object[typed].is_null() { value[typed].clone() } else { object[typed].take() };
        }
        let Some(metadata) = object["metadata"].as_object_mut() else { continue };
        metadata.remove("resourceVersion");
        normalize(&mut object, schema);
        let message = protobuf::encode_message(&object, schema);
        let identity = protobuf::Identity {
            api_version: object["apiVersion"].as_str().unwrap_or_default(),
            kind: object["kind"].as_str().unwrap_or_default(),
            resource_version: "77",
        };
        let mut printed = Vec::new();
        if let Err(error) = protobuf::print_object(&message, of, identity, &mut printed) {
            failures.push(format!("{name} can't be printed: {error}"));
            continue;
        }
        let moved = protobuf::with_resource_version(&message, of, "77").expect("metadata");
        let mut object = object.clone();
        object["metadata"]["resourceVersion"] = "77".into();
        check(name, "message->json", &printed, &json::to_vec(&object, schema), failures);
        check(name, "message->pb", &moved, &protobuf::encode_message(&object, schema), failures);
    }
}

/// Takes about every sixth member and item away.
fn thin_out(value: &mut Value, draw: &mut u64) {
    let mut gone = || {
        *draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*draw >> 33).is_multiple_of(6)
    };
    match value {
        Value::Object(members) => {
            members.retain(|_, _| !gone());
            members.values_mut().for_each(|member| thin_out(member, draw));
        }
        Value::Array(items) => {
            items.retain(|_| !gone());
            items.iter_mut().for_each(|item| thin_out(item, draw));
        }
        _ => {}
    }
}

fn check_fixture(dir: &Path, name: &str, failures: &mut Vec<String>) {
    let read = |ext: &str| std::fs::read(dir.join(format!("{name}.{ext}"))).expect("fixture");
    let schema = schema_of(name);
    let (json_text, yaml_text, pb) = (read("json"), read("yaml"), read("pb"));
    let decoded = [
        ("json", json::decode(&json_text, &schema).map(|d| (d.strict_error(), d.value)).map_err(|e| e.to_string())),
        ("yaml", yaml::decode(&yaml_text, &schema).map(|d| (d.strict_error(), d.value)).map_err(|e| e.to_string())),
        ("pb", protobuf::decode_object(&pb, &schema).map(|v| (None, v)).map_err(|e| e.to_string())),
    ];
    if let Ok((_, value)) = &decoded[2].1 {
        check_printing(name, value, &schema, failures);
    }
    for (from, result) in decoded {
        let (strict, value) = match result {
            Ok(found) => found,
            Err(error) => {
                failures.push(format!("{name} from {from}: {error}"));
                continue;
            }
        };
        if let Some(strict) = strict {
            failures.push(format!("{name} from {from}: {strict}"));
        }
        let (mut j, mut y, mut p) = (Vec::new(), Vec::new(), Vec::new());
        json::encode_pretty(&value, &schema, &mut j);
        yaml::encode(&value, &mut y);
        protobuf::encode_object(&value, &schema, &mut p);
        check(name, &format!("{from}->json"), &j, json_text.trim_ascii_end(), failures);
        check(name, &format!("{from}->yaml"), &y, &yaml_text, failures);
        check(name, &format!("{from}->pb"), &p, &pb, failures);
    }
}

#[test]
fn fixtures_convert_byte_for_byte() {
    let Some(dir) = golden() else { return };
    let mut names: Vec<String> = std::fs::read_dir(&dir)
        .expect("fixtures")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".pb").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() >= 185, "only {} fixtures", names.len());
    let mut failures = Vec::new();
    for name in &names {
        check_fixture(&dir, name, &mut failures);
    }
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}
