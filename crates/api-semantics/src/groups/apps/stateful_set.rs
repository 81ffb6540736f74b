//! StatefulSet: pods with stable names and storage.

use serde_json::{Value, json};

use crate::checks::{at_most_100_percent, count_or_percent, is_zero_amount, non_negative, one_of, same};
use crate::defaults::{each, ensure, set, set_zero, text};
use crate::field::{Errors, Field};
use crate::groups::core::claim_spec_defaults;
use crate::kind::Kind;
use crate::object_meta::dns_label;
use crate::{go, names, selectors};

pub(crate) static KIND: Kind = Kind {
    generation: true,
    initial_status: Some(|| json!({"replicas": 0, "availableReplicas": 0})),
    default,
    validate,
    validate_create,
    validate_change,
    warnings,
    name: dns_label,
    ..Kind::PLAIN
};

fn default(set_: &mut Value) {
    let status = ensure(set_, "status");
    set(status, "replicas", 0);
    set(status, "availableReplicas", 0);
    let spec = ensure(set_, "spec");
    set_zero(spec, "podManagementPolicy", "OrderedReady");
    set(spec, "replicas", 1);
    set(spec, "revisionHistoryLimit", 10);
    let strategy = ensure(spec, "updateStrategy");
    if text(strategy, "type").is_empty() {
        set_zero(strategy, "type", "RollingUpdate");
        ensure(strategy, "rollingUpdate");
    }
    if text(strategy, "type") == "RollingUpdate" {
        crate::defaults::within(strategy, "rollingUpdate", |r| set(r, "partition", 0));
    }
    let retention = ensure(spec, "persistentVolumeClaimRetentionPolicy");
    set_zero(retention, "whenDeleted", "Retain");
    set_zero(retention, "whenScaled", "Retain");
    each(spec, "volumeClaimTemplates", claim_template);
    crate::pod::defaults::pod_template(ensure(spec, "template"));
}

/// Claim templates are whole claims, type and status included.
fn claim_template(claim: &mut Value) {
    set_zero(claim, "apiVersion", "v1");
    set_zero(claim, "kind", "PersistentVolumeClaim");
    ensure(claim, "metadata");
    set_zero(ensure(claim, "status"), "phase", "Pending");
    claim_spec_defaults(ensure(claim, "spec"));
}

const MAY_CHANGE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

fn validate(sets: &Field, errors: &mut Errors) {
    let spec = sets.get("spec");
    let policy = spec.get("podManagementPolicy");
    match policy.str() {
        "" => errors.required(&policy, ""),
        "OrderedReady" | "Parallel" => {}
        _ => errors.invalid(&policy, "must be 'OrderedReady' or 'Parallel'"),
    }
    update_strategy(&spec.get("updateStrategy"), errors);
    for name in ["whenDeleted", "whenScaled"] {
        let when = spec.get("persistentVolumeClaimRetentionPolicy").get(name);
        one_of(&when, &["Retain", "Delete"], errors);
    }
    non_negative(&spec.get("replicas"), errors);
    non_negative(&spec.get("minReadySeconds"), errors);
    non_negative(&spec.dig("ordinals.start"), errors);
    let (selector, template) = (spec.get("selector"), spec.get("template"));
    if selector.exists() {
        selectors::validate(&selector, errors);
        if selectors::is_empty(&selector) {
            errors.invalid_as(
                &selector,
                selectors::shown(selector.value()),
                "empty selector is invalid for statefulset",
            );
        }
    } else {
        errors.required(&selector, "");
    }
    let labels = template.dig("metadata.labels");
    if !selectors::is_valid(&selector) {
        let shown = Field::at(selector.value(), selector.path().clone());
        errors.push(go::bare_invalid(&shown));
    } else if !selector.exists() || !selectors::is_empty(&selector) && !selectors::matches(&selector, &labels) {
        errors.invalid(&labels, "`selector` does not match template `labels`");
    }
    // Upstream looks at the template's labels once more with the pods' volumes.
    crate::object_meta::labels(&Field::at(labels.value(), template.path().child("labels")), errors);
    let with_claims = with_claim_volumes(&spec);
    crate::pod::pod_template(&Field::at(&with_claims, template.path().clone()), errors);
    super::always_restarted(&template, "StatefulSet", errors);
}

/// The template as the pods will have it: each claim template is a volume.
fn with_claim_volumes(spec: &Field) -> Value {
    let mut template = spec.get("template").value().clone();
    let claims = spec.get("volumeClaimTemplates");
    let volumes = claims.items().map(|c| {
        let name = c.get("metadata").str_of("name");
        json!({"name": name, "persistentVolumeClaim": {"claimName": name}})
    });
    let mut unique: Vec<Value> = Vec::new();
    for volume in volumes {
        if !unique.contains(&volume) {
            unique.push(volume);
        }
    }
    let volumes = unique;
    if !volumes.is_empty() && template.is_object() {
        let list = ensure(&mut template, "spec");
        let mut all = list["volumes"].as_array().cloned().unwrap_or_default();
        // A volume of the template gives way to the claim of the same name.
        all.retain(|v| !volumes.iter().any(|c| c["name"] == v["name"]));
        all.extend(volumes);
        list["volumes"] = Value::Array(all);
    }
    template
}

fn update_strategy(strategy: &Field, errors: &mut Errors) {
    let rolling = strategy.get("rollingUpdate");
    match strategy.str_of("type") {
        "" => errors.required(strategy, ""),
        "OnDelete" => {
            if rolling.exists() {
                errors.invalid(&rolling, "only allowed for updateStrategy 'RollingUpdate'");
            }
        }
        "RollingUpdate" => {
            non_negative(&rolling.get("partition"), errors);
            let unavailable = rolling.get("maxUnavailable");
            if unavailable.exists() {
                count_or_percent(&unavailable, errors);
                if is_zero_amount(&unavailable) {
                    errors.invalid(&unavailable, "cannot be 0");
                }
                at_most_100_percent(&unavailable, errors);
            }
        }
        _ => {
            let shown = crate::go_internal::compact(strategy.value(), "StatefulSetUpdateStrategy");
            errors.push(go::invalid(strategy, &shown, "must be 'RollingUpdate' or 'OnDelete'"));
        }
    }
}

fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    let mut kept = new.get("spec").value().clone();
    for name in MAY_CHANGE {
        crate::defaults::keep(&mut kept, old.get("spec").value(), name);
    }
    if !same(&Field::root(&kept), &old.get("spec")) {
        errors.forbidden(
            &new.get("spec"),
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        );
    }
}

/// Claim templates never change, so that only new sets need a look at them.
fn validate_create(sets: &Field, errors: &mut Errors) {
    let service = sets.dig("spec.serviceName");
    if !service.str().is_empty() {
        errors.invalid_each(&service, names::dns1123_label(service.str()));
    }
    for claim in sets.dig("spec.volumeClaimTemplates").items() {
        crate::groups::core::claim_spec(&claim.get("spec"), errors);
        crate::groups::core::source_groups(&claim.get("spec"), None, errors);
    }
}

fn warnings(sets: &Field, old: Option<&Field>, out: &mut Vec<String>) {
    crate::pod::warnings::template(sets, old, "spec.template", out);
    let spec = sets.get("spec");
    let history = spec.get("revisionHistoryLimit");
    if history.int_or_zero() < 0 {
        out.push(format!(
            "{}: a negative value retains all historical revisions; a value >= 0 is recommended",
            history.path()
        ));
    }
    for claim in spec.get("volumeClaimTemplates").items() {
        for kind in ["requests", "limits"] {
            let amount = claim.dig("spec.resources").get(kind).entry("storage");
            // Upstream leaves out the claim's `spec` in the path.
            let path = claim.path().child("resources").child(kind).key("storage");
            crate::pod::warnings::fractional(&Field::at(amount.value(), path), out);
        }
    }
}
