//! Validation of `metadata`, the same for every kind (upstream: apimachinery `validation.ValidateObjectMeta`).

use std::collections::BTreeSet;

use crate::checks::IMMUTABLE;
use crate::field::{Errors, Field};
use crate::names;

/// What a name must look like: the messages of what is wrong. The flag says that the name is a prefix (`generateName`).
pub(crate) type NameRule = fn(&str, bool) -> Vec<String>;

const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// A trailing dash of a prefix is followed by the generated part.
fn masked(name: &str, prefix: bool) -> String {
    match name.strip_suffix('-') {
        Some(base) if prefix && !base.is_empty() => format!("{base}a"),
        _ => name.to_owned(),
    }
}

/// RFC 1123 subdomain, the rule of most kinds.
pub(crate) fn dns_subdomain(name: &str, prefix: bool) -> Vec<String> {
    names::dns1123_subdomain(&masked(name, prefix))
}

/// RFC 1123 label (namespaces, services).
pub(crate) fn dns_label(name: &str, prefix: bool) -> Vec<String> {
    names::dns1123_label(&masked(name, prefix))
}

/// Anything that can stand in a URL path (RBAC).
pub(crate) fn path_segment(name: &str, prefix: bool) -> Vec<String> {
    // A prefix is not the whole segment: dots alone are fine in it.
    if prefix && [".", ".."].contains(&name) { Vec::new() } else { names::path_segment(name) }
}

/// No rule: the kind's own validation says what the name is.
pub(crate) fn any_name(_name: &str, _prefix: bool) -> Vec<String> {
    Vec::new()
}

/// All that is wrong with `metadata` of an object.
pub(crate) fn validate(metadata: &Field, namespaced: bool, name: NameRule, errors: &mut Errors) {
    let (generate, own) = (metadata.get("generateName"), metadata.get("name"));
    if !generate.str().is_empty() {
        errors.invalid_each(&generate, name(generate.str(), true));
    }
    if own.str().is_empty() {
        errors.required(&own, "name or generateName is required");
    } else {
        errors.invalid_each(&own, name(own.str(), false));
    }
    namespace(&metadata.get("namespace"), namespaced, errors);
    crate::checks::non_negative(&metadata.get("generation"), errors);
    labels(&metadata.get("labels"), errors);
    annotations(&metadata.get("annotations"), errors);
    owner_references(&metadata.get("ownerReferences"), errors);
    finalizers(&metadata.get("finalizers"), errors);
    managed_fields(&metadata.get("managedFields"), errors);
}

/// What upstream looks at again and again on updates: in the generic registry, when it compares metadata, and in the
/// kind's own validation. Clients see each time.
pub(crate) fn labels_and_annotations(metadata: &Field, errors: &mut Errors) {
    labels(&metadata.get("labels"), errors);
    annotations(&metadata.get("annotations"), errors);
}

/// What is wrong with the labels and annotations of an object's metadata.
pub fn check_labels_and_annotations(metadata: &serde_json::Value) -> Vec<api_types::FieldError> {
    let mut errors = Errors::default();
    labels_and_annotations(&Field::at(metadata, api_types::Path::new("metadata")), &mut errors);
    errors.into_vec()
}

fn namespace(field: &Field, namespaced: bool, errors: &mut Errors) {
    if !namespaced {
        if !field.str().is_empty() {
            errors.forbidden(field, "not allowed on this type");
        }
    } else if field.str().is_empty() {
        errors.required(field, "");
    } else {
        errors.invalid_each(field, names::dns1123_label(field.str()));
    }
}

/// Keys and values of a label map; errors stand at the map.
pub(crate) fn labels(field: &Field, errors: &mut Errors) {
    for (key, value) in field.entries() {
        label_key(key, field, errors);
        for message in names::label_value(value.str()) {
            errors.invalid_as(field, value.str(), message);
        }
    }
}

pub(crate) fn label_key(key: &str, at: &Field, errors: &mut Errors) {
    for message in names::qualified_name(key) {
        errors.invalid_as(at, key, message);
    }
}

pub(crate) fn annotations(field: &Field, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in field.entries() {
        for message in names::qualified_name(&key.to_lowercase()) {
            errors.invalid_as(field, key, message);
        }
        size += key.len() + value.str().len();
    }
    if size > ANNOTATIONS_LIMIT {
        errors.too_long(field, ANNOTATIONS_LIMIT);
    }
}

fn owner_references(field: &Field, errors: &mut Errors) {
    let mut controller: Option<&str> = None;
    for item in field.items() {
        let at = |name: &str| Field::at(item.get(name).value(), field.path().child(name));
        let version = item.str_of("apiVersion");
        if version.is_empty() || version.ends_with('/') {
            errors.invalid_str(&at("apiVersion"), "version must not be empty");
        }
        for name in ["kind", "name", "uid"] {
            if item.str_of(name).is_empty() {
                errors.invalid_str(&at(name), "must not be empty");
            }
        }
        if version == "v1" && item.str_of("kind") == "Event" {
            errors.invalid_as(field, item.value(), "/v1, Kind=Event is disallowed from being an owner");
        }
        if item.bool_of("controller") {
            let name = item.str_of("name");
            match controller {
                Some(first) => errors.invalid(
                    field,
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {name}"
                    ),
                ),
                None => controller = Some(name),
            }
        }
    }
}

fn finalizers(field: &Field, errors: &mut Errors) {
    let all: BTreeSet<&str> = field.items().map(|f| f.value().as_str().unwrap_or("")).collect();
    for name in field.items() {
        for message in names::qualified_name(name.str()) {
            errors.invalid_as(field, name.str(), message);
        }
        kube_finalizer(&name, &name, errors);
    }
    if all.contains("orphan") && all.contains("foregroundDeletion") {
        errors.invalid(field, "finalizer orphan and foregroundDeletion cannot be both set");
    }
}

/// A finalizer without a prefix must be one of the standard ones.
pub(crate) fn kube_finalizer(name: &Field, at: &Field, errors: &mut Errors) {
    let standard = ["foregroundDeletion", "orphan", "kubernetes"];
    if !name.str().contains('/') && !standard.contains(&name.str()) {
        errors.invalid_as(at, name.str(), "name is neither a standard finalizer name nor is it fully qualified");
    }
}

fn managed_fields(field: &Field, errors: &mut Errors) {
    for item in field.items() {
        let operation = item.get("operation");
        if !["Apply", "Update"].contains(&operation.str()) {
            errors.invalid_str(&operation, "must be `Apply` or `Update`");
        }
        let kind = item.get("fieldsType");
        if !["", "FieldsV1"].contains(&kind.str()) {
            errors.invalid_str(&kind, "must be `FieldsV1`");
        }
        let manager = item.get("manager");
        if manager.len() > 128 {
            errors.too_long(&manager, 128);
        }
    }
}

/// All that is wrong with the change of `metadata`.
pub(crate) fn validate_update(new: &Field, old: &Field, errors: &mut Errors) {
    let list = new.get("finalizers");
    if new.has("deletionTimestamp") {
        let known: BTreeSet<&str> = old.get("finalizers").items().map(|f| f.value().as_str().unwrap_or("")).collect();
        let extra: Vec<&str> =
            list.items().map(|f| f.value().as_str().unwrap_or("")).filter(|f| !known.contains(f)).collect();
        if !extra.is_empty() {
            let quoted: Vec<String> = extra.iter().map(|f| format!("\"{f}\"")).collect();
            errors.forbidden(
                &list,
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    quoted.join(", ")
                ),
            );
        }
    }
    let generation = new.get("generation");
    if generation.int_or_zero() < old.get("generation").int_or_zero() {
        errors.invalid_int(&generation, "must not be decremented");
    }
    for name in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let (n, o) = (new.get(name), old.get(name));
        if !crate::checks::same(&n, &o) {
            errors.invalid(&n, IMMUTABLE);
        }
    }
}
