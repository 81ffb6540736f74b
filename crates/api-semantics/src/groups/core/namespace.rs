//! Namespace: a scope for names.

use serde_json::{Value, json};

use crate::defaults::{ensure, keep, set_zero, text};
use crate::field::{Errors, Field};
use crate::kind::Kind;
use crate::names;
use crate::object_meta::{dns_label, kube_finalizer};
use crate::strategy::{Context, Part};

pub(crate) static KIND: Kind = Kind {
    initial_status: Some(|| json!({"phase": "Active"})),
    default,
    prepare_create,
    prepare_update,
    name: dns_label,
    validate,
    ..Kind::CLUSTER
};

fn default(namespace: &mut Value) {
    ensure(namespace, "spec");
    set_zero(ensure(namespace, "status"), "phase", "Active");
    let name = text(&namespace["metadata"], "name").to_owned();
    if !name.is_empty() {
        let labels = ensure(ensure(namespace, "metadata"), "labels");
        if labels.is_object() {
            labels["kubernetes.io/metadata.name"] = json!(name);
        }
    }
}

/// Every namespace starts with the finalizer that lets the namespace controller empty it.
fn prepare_create(_context: &Context, namespace: &mut Value) {
    let finalizers = ensure(ensure(namespace, "spec"), "finalizers");
    if !finalizers.is_array() {
        *finalizers = json!([]);
    }
    let list = finalizers.as_array_mut().into_iter();
    for list in list {
        if !list.iter().any(|f| f == "kubernetes") {
            list.push(json!("kubernetes"));
        }
    }
    // A generated name is known only now.
    default(namespace);
}

fn prepare_update(_context: &Context, part: Part, new: &mut Value, old: &Value) {
    if part == Part::Main {
        let old_spec = old.get("spec").cloned().unwrap_or_else(|| json!({}));
        keep(ensure(new, "spec"), &old_spec, "finalizers");
    }
    if part == Part::Other("finalize") {
        keep(new, old, "status");
    }
}

fn validate(namespace: &Field, errors: &mut Errors) {
    let finalizers = namespace.dig("spec.finalizers");
    for name in finalizers.items() {
        for message in names::qualified_name(name.str()) {
            errors.invalid_as(&finalizers, name.str(), message);
        }
        kube_finalizer(&name, &finalizers, errors);
    }
}
