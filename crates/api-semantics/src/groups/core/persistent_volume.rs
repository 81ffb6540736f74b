//! PersistentVolume: storage of the cluster.

use api_types::{FieldError, Path};
use serde_json::{Value, json};

use crate::checks::{immutable, one_of, optional_one_of, required, same};
use crate::defaults::{ensure, set, set_zero, text, within};
use crate::field::{Errors, Field};
use crate::go_internal;
use crate::kind::{Kind, empty_status};
use crate::names;
use crate::pod::volume_sources::{self, SOURCES};
use crate::quantity::{self, Quantity};
use crate::strategy::{Context, Part};

pub(crate) static KIND: Kind = Kind {
    initial_status: Some(empty_status),
    default,
    prepare_create,
    prepare_update,
    validate,
    validate_change,
    warnings,
    validated_twice: true,
    ..Kind::CLUSTER
};

fn default(volume: &mut Value) {
    set_zero(ensure(volume, "status"), "phase", "Pending");
    let spec = ensure(volume, "spec");
    set_zero(spec, "persistentVolumeReclaimPolicy", "Retain");
    set(spec, "volumeMode", "Filesystem");
    within(spec, "capacity", crate::quantity::round_list);
    within(spec, "hostPath", |v| set(v, "type", ""));
    crate::pod::defaults::source(spec);
}

fn stamp(context: &Context, volume: &mut Value) {
    if let Some(now) = context.now {
        let seconds = crate::time::rfc3339(now);
        ensure(volume, "status")["lastPhaseTransitionTime"] = json!(seconds);
    }
}

fn prepare_create(context: &Context, volume: &mut Value) {
    volume["status"] = json!({"phase": "Pending"});
    stamp(context, volume);
}

/// The moment of a phase change is recorded unless the writer says one.
fn prepare_update(context: &Context, part: Part, new: &mut Value, old: &Value) {
    if part != Part::Status || text(&new["status"], "phase") == text(&old["status"], "phase") {
        return;
    }
    let (new_time, old_time) = (&new["status"]["lastPhaseTransitionTime"], &old["status"]["lastPhaseTransitionTime"]);
    if new_time.is_null() || new_time == old_time {
        stamp(context, new);
    }
}

/// Sources that only persistent volumes have.
const OWN_SOURCES: [&str; 1] = ["local"];

fn validate(volume: &Field, errors: &mut Errors) {
    let spec = volume.get("spec");
    let modes = spec.get("accessModes");
    if modes.is_empty() {
        errors.required(&modes, "");
    }
    super::access_modes(&modes, errors);
    capacity(&spec.get("capacity"), errors);
    let policy = spec.get("persistentVolumeReclaimPolicy");
    if !policy.str().is_empty() {
        one_of(&policy, &["Delete", "Recycle", "Retain"], errors);
    }
    let affinity = spec.get("nodeAffinity");
    if affinity.exists() {
        let required = affinity.get("required");
        if required.exists() {
            crate::pod::node_selector(&required, errors);
        } else {
            errors.required(&required, "must specify required node constraints");
        }
    }
    sources(&spec, errors);
    let class = spec.get("storageClassName");
    if !class.str().is_empty() {
        errors.invalid_each(&class, names::dns1123_subdomain(class.str()));
    }
    optional_one_of(&spec.get("volumeMode"), &["Block", "Filesystem"], errors);
}

fn capacity(capacity: &Field, errors: &mut Errors) {
    if capacity.is_empty() {
        errors.required(capacity, "");
    }
    if capacity.value().get("storage").is_none() || capacity.len() > 1 {
        let shown = capacity.value();
        errors.push(FieldError::not_supported(capacity.path(), shown, &["storage"]));
    }
    for (_, amount) in capacity.entries() {
        if let Some(q) = quantity::of(amount.value())
            && q <= Quantity::ZERO
        {
            errors.invalid_as(&amount, q.to_string(), "must be greater than zero");
        }
    }
}

fn sources(spec: &Field, errors: &mut Errors) {
    let all = SOURCES.iter().chain(OWN_SOURCES.iter());
    let mut count = 0;
    for name in all.filter(|n| spec.has(n)) {
        count += 1;
        let source = spec.get(name);
        if count > 1 {
            errors.forbidden(&source, "may not specify more than 1 volume type");
            continue;
        }
        match *name {
            "local" => local(spec, &source, errors),
            "csi" => {
                volume_sources::csi_driver(&source.get("driver"), errors);
                required(&source.get("volumeHandle"), errors);
                secrets(&source, errors);
            }
            "hostPath" => {
                volume_sources::validate(name, &source, errors);
                if source.str_of("path") == "/" && spec.str_of("persistentVolumeReclaimPolicy") == "Recycle" {
                    errors.forbidden(
                        &spec.get("persistentVolumeReclaimPolicy"),
                        "may not be 'recycle' for a hostPath mount of '/'",
                    );
                }
            }
            _ => volume_sources::validate(name, &source, errors),
        }
    }
    if count == 0 {
        errors.required(spec, "must specify a volume type");
    }
}

fn local(spec: &Field, source: &Field, errors: &mut Errors) {
    let path = source.get("path");
    required(&path, errors);
    if path.str().split('/').any(|p| p == "..") {
        errors.invalid(&path, "must not contain '..'");
    }
    if !spec.has("nodeAffinity") {
        errors.required(&spec.get("nodeAffinity"), "Local volume requires node affinity");
    }
}

fn secrets(source: &Field, errors: &mut Errors) {
    for name in
        ["controllerPublishSecretRef", "nodePublishSecretRef", "controllerExpandSecretRef", "nodeExpandSecretRef"]
    {
        let secret = source.get(name);
        if secret.exists() {
            required(&secret.get("name"), errors);
            required(&secret.get("namespace"), errors);
        }
    }
}

fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    let (spec, old_spec) = (new.get("spec"), old.get("spec"));
    let all = SOURCES.iter().chain(OWN_SOURCES.iter());
    let changed = all.filter(|n| !same(&spec.get(n), &old_spec.get(n))).count();
    if changed > 0 {
        let at = Field::at(spec.value(), spec.path().child("persistentvolumesource"));
        let diff = go_internal::diff(old_spec.value(), spec.value(), "PersistentVolumeSource");
        errors.forbidden(&at, format!("spec.persistentvolumesource is immutable after creation\n{diff}"));
    }
    let mode = Field::at(spec.get("volumeMode").value(), Path::new("volumeMode"));
    immutable(&mode, &old_spec.get("volumeMode"), errors);
    let before = renamed(&spec.get("nodeAffinity"), &old_spec.get("nodeAffinity"));
    if old_spec.has("nodeAffinity") && !same(&spec.get("nodeAffinity"), &Field::root(&before)) {
        let affinity = Field::at(spec.get("nodeAffinity").value(), Path::new("nodeAffinity"));
        let shown = go_internal::compact(affinity.value(), "VolumeNodeAffinity");
        errors.push(crate::go::invalid(
            &affinity,
            &shown,
            "field is immutable, except for updating from beta label to GA",
        ));
    }
}

/// Labels that were renamed; nothing else of the affinity may change.
const RENAMED: [(&str, &str); 4] = [
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
];

/// The old affinity with the keys that the new one renames. Upstream takes the empty key for the new name of every label
/// that has none.
fn renamed(new: &Field, old: &Field) -> Value {
    let mut out = old.value().clone();
    let terms = out.pointer_mut("/required/nodeSelectorTerms").and_then(Value::as_array_mut);
    for (term, wanted) in terms.into_iter().flatten().zip(new.dig("required.nodeSelectorTerms").items()) {
        let expressions = term.get_mut("matchExpressions").and_then(Value::as_array_mut);
        for (expression, wanted) in expressions.into_iter().flatten().zip(wanted.get("matchExpressions").items()) {
            let key = expression["key"].as_str().unwrap_or("");
            let name = RENAMED.iter().find(|(from, _)| *from == key).map_or("", |(_, to)| to);
            if wanted.str_of("key") == name {
                expression["key"] = Value::from(name);
            }
        }
    }
    out
}

const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

fn warnings(volume: &Field, _old: Option<&Field>, out: &mut Vec<String>) {
    let annotation = volume.dig("metadata.annotations").entry(OLD_CLASS);
    if annotation.exists() {
        out.push(format!("{}: deprecated since v1.8; use \"storageClassName\" attribute instead", annotation.path()));
    }
    let spec = volume.get("spec");
    let policy = spec.get("persistentVolumeReclaimPolicy");
    if policy.str() == "Recycle" {
        out.push(format!("{}: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.", policy.path()));
    }
    for (name, words) in [
        ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
        ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
        ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
    ] {
        if spec.has(name) {
            out.push(format!("{}: {words}", spec.get(name).path()));
        }
    }
}
