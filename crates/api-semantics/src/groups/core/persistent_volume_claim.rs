//! PersistentVolumeClaim: a request for storage.

use api_types::Path;
use serde_json::{Value, json};

use crate::checks::{optional_one_of, same};
use crate::defaults::{ensure, set, set_zero, within};
use crate::field::{Errors, Field};
use crate::kind::Kind;
use crate::quantity::{self, Quantity};
use crate::strategy::{Context, Part};
use crate::{names, selectors};

pub(crate) static KIND: Kind = Kind {
    initial_status: Some(|| json!({"phase": "Pending"})),
    default: claim_defaults,
    prepare_create: |_, claim| normalize_data_sources(claim, None),
    prepare_update,
    validate: |claim, errors| claim_spec(&claim.get("spec"), errors),
    validate_create: |claim, errors| source_groups(&claim.get("spec"), None, errors),
    validate_change,
    warnings,
    ..Kind::PLAIN
};

fn claim_defaults(claim: &mut Value) {
    set_zero(ensure(claim, "status"), "phase", "Pending");
    claim_spec_defaults(ensure(claim, "spec"));
}

/// Also of the claim templates of pods and stateful sets.
pub(crate) fn claim_spec_defaults(spec: &mut Value) {
    set(spec, "volumeMode", "Filesystem");
    let resources = ensure(spec, "resources");
    within(resources, "requests", crate::quantity::round_list);
    within(resources, "limits", crate::quantity::round_list);
}

fn prepare_update(_context: &Context, part: Part, new: &mut Value, old: &Value) {
    if part == Part::Main {
        normalize_data_sources(new, Some(old));
    }
}

/// `dataSource` knows only claims and snapshots; another kind there is dropped unless it was stored before. Then the two
/// ways to name a source of the claim's own namespace say the same.
fn normalize_data_sources(claim: &mut Value, old: Option<&Value>) {
    let spec = ensure(claim, "spec");
    let in_use = old.is_some_and(|o| o["spec"]["dataSource"].is_object());
    if !in_use && !known_source(&spec["dataSource"]) {
        crate::defaults::drop_key(spec, "dataSource");
    }
    let source = spec.get("dataSource").filter(|s| s.is_object()).cloned();
    let reference = spec.get("dataSourceRef").filter(|s| s.is_object()).cloned();
    match (source, reference) {
        (Some(source), None) => spec["dataSourceRef"] = source,
        (None, Some(reference)) => {
            let local = reference.get("namespace").is_none_or(|n| n.is_null() || n == "");
            if local && known_source(&reference) {
                spec["dataSource"] = reference;
            }
        }
        _ => {}
    }
}

fn known_source(source: &Value) -> bool {
    let group = source["apiGroup"].as_str().unwrap_or("");
    matches!(
        (source["kind"].as_str(), group),
        (Some("PersistentVolumeClaim"), "") | (Some("VolumeSnapshot"), "snapshot.storage.k8s.io")
    )
}

const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// The spec of a claim or of a claim template.
pub(crate) fn claim_spec(spec: &Field, errors: &mut Errors) {
    let modes = spec.get("accessModes");
    if modes.is_empty() {
        errors.required(&modes, "at least 1 access mode is required");
    }
    selectors::validate(&spec.get("selector"), errors);
    access_modes(&modes, errors);
    storage_request(spec, errors);
    let class = spec.get("storageClassName");
    if !class.str().is_empty() {
        errors.invalid_each(&class, names::dns1123_subdomain(class.str()));
    }
    optional_one_of(&spec.get("volumeMode"), &["Block", "Filesystem"], errors);
    data_sources(spec, errors);
}

/// Upstream shows a bad mode at the list.
pub(crate) fn access_modes(modes: &Field, errors: &mut Errors) {
    let (mut exclusive, mut others) = (false, false);
    for mode in modes.items() {
        if !ACCESS_MODES.contains(&mode.str()) {
            errors.not_supported(&Field::at(mode.value(), modes.path().clone()), &ACCESS_MODES);
        }
        exclusive |= mode.str() == "ReadWriteOncePod";
        others |= mode.str() != "ReadWriteOncePod";
    }
    if exclusive && others {
        errors.forbidden(modes, "may not use ReadWriteOncePod with other access modes");
    }
}

fn storage_request(spec: &Field, errors: &mut Errors) {
    let resources = spec.get("resources");
    let requests = resources.get("requests");
    let path = resources.path().key("storage");
    let storage = Field::at(requests.entry("storage").value(), path);
    match quantity::of(storage.value()) {
        None => errors.required(&storage, ""),
        Some(amount) if amount <= Quantity::ZERO => {
            errors.invalid_as(&storage, amount.to_string(), "must be greater than zero");
        }
        Some(_) => {}
    }
}

fn data_sources(spec: &Field, errors: &mut Errors) {
    for name in ["dataSource", "dataSourceRef"] {
        let source = spec.get(name);
        if !source.exists() {
            continue;
        }
        for part in ["name", "kind"] {
            if source.str_of(part).is_empty() {
                errors.required(&source.get(part), "");
            }
        }
        let group = source.str_of("apiGroup");
        if group.is_empty() && source.str_of("kind") != "PersistentVolumeClaim" {
            let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            errors.invalid_as(&source, source.str_of("kind"), detail);
        }
    }
    if spec.has("dataSource")
        && spec.has("dataSourceRef")
        && !spec.get("dataSourceRef").has("namespace")
        && !same(&spec.get("dataSource"), &spec.get("dataSourceRef"))
    {
        errors.invalid(spec, "must match dataSourceRef");
    }
}

/// The groups of the data sources. A claim that names a group already may go on with any.
pub(crate) fn source_groups(spec: &Field, old: Option<&Field>, errors: &mut Errors) {
    const SOURCES: [&str; 2] = ["dataSource", "dataSourceRef"];
    if old.is_some_and(|old| SOURCES.iter().any(|name| old.get(name).has("apiGroup"))) {
        return;
    }
    for group in SOURCES.map(|name| spec.get(name).get("apiGroup")) {
        if !group.str().is_empty() {
            errors.invalid_each(&group, names::dns1123_subdomain(group.str()));
        }
    }
}

fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    let (spec, old_spec) = (new.get("spec"), old.get("spec"));
    source_groups(&spec, Some(&old_spec), errors);
    let bound = old.get("status").str_of("phase") == "Bound";
    let mut munged = spec.value().clone();
    if bound {
        crate::defaults::keep(&mut munged["resources"], &old_spec.value()["resources"], "requests");
    }
    if old_spec.str_of("volumeName").is_empty() {
        crate::defaults::keep(&mut munged, old_spec.value(), "volumeName");
    }
    if !old_spec.has("storageClassName") {
        crate::defaults::keep(&mut munged, old_spec.value(), "storageClassName");
    }
    crate::defaults::keep(&mut munged, old_spec.value(), "volumeAttributesClassName");
    if !same(&Field::root(&munged), &old_spec) {
        let words =
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        let diff = crate::go_internal::diff(old_spec.value(), &munged, "ClaimSpec");
        errors.forbidden(&spec, format!("{words}\n{diff}"));
    }
    let storage = |f: &Field| quantity::of(f.dig("resources.requests").entry("storage").value());
    let asked = storage(&spec).unwrap_or(Quantity::ZERO);
    if let (new, Some(before)) = (asked, storage(&old_spec))
        && new < before
        && new <= quantity::of(old.dig("status.capacity").entry("storage").value()).unwrap_or(Quantity::ZERO)
    {
        errors.forbidden(&spec.dig("resources.requests.storage"), "field can not be less than status.capacity");
    }
    let mode = Field::at(spec.get("volumeMode").value(), Path::new("volumeMode"));
    crate::checks::immutable(&mode, &old_spec.get("volumeMode"), errors);
}

fn warnings(claim: &Field, _old: Option<&Field>, out: &mut Vec<String>) {
    for kind in ["requests", "limits"] {
        crate::pod::warnings::fractional(&claim.dig("spec.resources").get(kind).entry("storage"), out);
    }
}
