//! CustomResourceDefinition: a kind that users add.

use serde_json::{Value, json};
use std::collections::BTreeSet;

use crate::checks::required_one_of;
use crate::defaults::{ensure, set, set_zero, text, within};
use crate::field::{Errors, Field};
use crate::kind::{Kind, empty_status};
use crate::names;
use crate::object_meta::any_name;
use crate::strategy::{Context, Part};

pub(crate) static KIND: Kind = Kind {
    generation: true,
    initial_status: Some(empty_status),
    status_keeps_metadata: true,
    default,
    prepare_create,
    prepare_update,
    unconditional_update: false,
    name: any_name,
    validate,
    validate_create,
    validate_change,
    ..Kind::CLUSTER
};

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
        "storedVersions": if stored.is_empty() { Value::Null } else { Value::Array(stored) },
    });
}

/// What becomes the storage version is among the stored ones from then on.
fn prepare_update(_context: &Context, part: Part, definition: &mut Value, _old: &Value) {
    let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    let storage = versions.filter(|v| v["storage"] == json!(true)).map(|v| v["name"].clone()).next();
    let (Part::Main, Some(storage)) = (part, storage) else { return };
    match &mut definition["status"]["storedVersions"] {
        Value::Array(stored) if !stored.contains(&storage) => stored.push(storage),
        Value::Array(_) => {}
        absent => *absent = json!([storage]),
    }
}

fn validate(definition: &Field, errors: &mut Errors) {
    let spec = definition.get("spec");
    own_name(definition, &spec, errors);
    let group = spec.get("group");
    if group.str().is_empty() {
        errors.required(&group, "");
    } else {
        let messages = names::dns1123_subdomain(group.str());
        if messages.is_empty() && !group.str().contains('.') {
            errors.invalid(&group, "should be a domain with at least one dot");
        }
        errors.invalid_each(&group, messages);
    }
    required_one_of(&spec.get("scope"), &["Cluster", "Namespaced"], errors);
    versions(&spec, errors);
    super::names::validate(&spec.get("names"), errors);
    conversion(&spec.get("conversion"), spec.bool_of("preserveUnknownFields"), errors);
    stored_versions(definition, &spec, errors);
}

/// A definition is named by its plural and its group.
fn own_name(definition: &Field, spec: &Field, errors: &mut Errors) {
    let name = definition.get("metadata").get("name");
    if name.str().is_empty() {
        return;
    }
    errors.invalid_each(&name, names::dns1123_subdomain(name.str()));
    let wanted = format!("{}.{}", spec.get("names").str_of("plural"), spec.str_of("group"));
    if name.str() != wanted {
        errors.invalid(&name, "must be spec.names.plural+\".\"+spec.group");
    }
}

fn versions(spec: &Field, errors: &mut Errors) {
    let list = spec.get("versions");
    let mut seen = BTreeSet::new();
    let mut unique = true;
    for version in list.items() {
        let name = version.get("name");
        unique &= seen.insert(name.str());
        errors.invalid_each(&name, names::dns1035_label(name.str()));
        super::version::validate(&version, errors);
    }
    // The field of older API versions that named the first version.
    if let Some(first) = list.items().next() {
        let name = Field::at(first.get("name").value(), spec.path().child("version"));
        if !name.str().is_empty() {
            errors.invalid_each(&name, names::dns1035_label(name.str()));
        }
    }
    let shown = || crate::go_internal::compact_list(list.value(), "CustomResourceDefinitionVersion");
    if !unique {
        errors.push(crate::go::invalid(&list, &shown(), "must contain unique version names"));
    }
    if list.items().filter(|v| v.bool_of("storage")).count() != 1 {
        errors.push(crate::go::invalid(&list, &shown(), "must have exactly one version marked as storage version"));
    }
}

fn conversion(conversion: &Field, preserves_unknown: bool, errors: &mut Errors) {
    if !conversion.exists() {
        return;
    }
    let strategy = conversion.get("strategy");
    required_one_of(&strategy, &["None", "Webhook"], errors);
    if strategy.str() == "Webhook" && preserves_unknown {
        errors.invalid(&strategy, "must be None if spec.preserveUnknownFields is true");
    }
    let webhook = conversion.get("webhook");
    if strategy.str() == "None" {
        if webhook.exists() {
            errors.forbidden(&webhook, "should not be set when strategy is not set to Webhook");
        }
        return;
    }
    let config = webhook.get("clientConfig");
    if strategy.str() == "Webhook" {
        if config.exists() {
            crate::webhooks::client_config(&config, errors);
        } else {
            errors.required(&config, "required when strategy is set to Webhook");
        }
        let reviews = webhook.get("conversionReviewVersions");
        if reviews.is_empty() {
            errors.required(&reviews, "");
        } else if !reviews.items().any(|v| ["v1", "v1beta1"].contains(&v.str())) {
            errors.invalid(&reviews, "must include at least one of v1, v1beta1");
        }
    }
}

/// What was ever stored must still be a version, and the storage version is among it.
fn stored_versions(definition: &Field, spec: &Field, errors: &mut Errors) {
    let stored = definition.dig("status.storedVersions");
    if stored.is_empty() {
        errors.invalid(&stored, "must have at least one stored version");
        return;
    }
    let versions = spec.get("versions");
    for (i, name) in stored.items().enumerate() {
        if !versions.items().any(|v| v.str_of("name") == name.str()) {
            let at = Field::at(name.value(), stored.path().index(i));
            errors.invalid(&at, "must appear in spec.versions");
        }
    }
    for version in versions.items().filter(|v| v.bool_of("storage")) {
        let name = version.str_of("name");
        if !stored.items().any(|s| s.str() == name) {
            errors.invalid(&stored, format!("must have the storage version {name}"));
        }
    }
}

fn validate_create(definition: &Field, errors: &mut Errors) {
    let preserve = definition.dig("spec.preserveUnknownFields");
    if preserve.bool() {
        errors.invalid(
            &preserve,
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        );
    }
}

fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    let established =
        old.dig("status.conditions").items().any(|c| c.str_of("type") == "Established" && c.str_of("status") == "True");
    let (spec, before) = (new.get("spec"), old.get("spec"));
    for name in ["scope", "names.kind", "names.plural", "group"] {
        let (n, o) = (spec.dig(name), before.dig(name));
        if (established || name == "group" || name == "names.plural") && n.str() != o.str() {
            errors.invalid_str(&n, "field is immutable");
        }
    }
}
