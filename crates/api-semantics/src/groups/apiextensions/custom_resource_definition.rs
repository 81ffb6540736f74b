//! CustomResourceDefinition: a kind that users add.

use serde_json::{Value, json};

use crate::defaults::{ensure, set, set_zero, text, within};
use crate::kind::{Kind, empty_status};
use crate::strategy::Context;

pub(crate) static KIND: Kind =
    Kind { generation: true, initial_status: Some(empty_status), default, prepare_create, ..Kind::CLUSTER };

fn default(definition: &mut Value) {
    let status = ensure(definition, "status");
    let accepted = ensure(status, "acceptedNames");
    set(accepted, "kind", "");
    set(accepted, "plural", "");
    let spec = ensure(definition, "spec");
    let names = ensure(spec, "names");
    let kind = text(names, "kind").to_owned();
    set_zero(names, "singular", kind.to_lowercase());
    if !kind.is_empty() {
        set_zero(names, "listKind", format!("{kind}List"));
    }
    let conversion = ensure(spec, "conversion");
    set_zero(conversion, "strategy", "None");
    within(conversion, "webhook.clientConfig.service", |s| set(s, "port", 443));
}

/// The storage version is stored from the start.
fn prepare_create(_context: &Context, definition: &mut Value) {
    let versions = definition["spec"]["versions"].as_array().cloned().unwrap_or_default();
    let stored: Vec<Value> =
        versions.iter().filter(|v| v["storage"] == json!(true)).map(|v| v["name"].clone()).take(1).collect();
    definition["status"] = json!({
        "conditions": null,
        "acceptedNames": {"kind": "", "plural": ""},
        "storedVersions": stored,
    });
}
