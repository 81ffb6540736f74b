//! What may change in a pod (upstream: `ValidatePodUpdate`).

use serde_json::Value;

use super::{Owner, pod_spec};
use crate::checks::same;
use crate::field::{Errors, Field};
use crate::strategy::Part;
use crate::{go, go_internal};

const FORBIDDEN: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
const ONLY_ADDITIONS: &str = "only additions are allowed (no mutations or deletions)";
const NODE_TERMS: &str = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";

pub(crate) fn validate(new: &Field, old: &Field, errors: &mut Errors) {
    let (new, old) = (new.get("spec"), old.get("spec"));
    for name in ["containers", "initContainers"] {
        if !images(&new.get(name), &old.get(name), errors) {
            return;
        }
    }
    if !deadline(&new, &old, errors) {
        return;
    }
    tolerations(&new, &old, errors);
    gates(&new, &old, errors);
    let gated = !old.get("schedulingGates").is_empty();
    if gated {
        node_selector(&new, &old, errors);
        node_affinity(&new, &old, errors);
    }
    let munged = munge(new.value(), old.value(), gated);
    if !same(&Field::root(&munged), &Field::root(old.value())) {
        let (before, after) = (go_internal::pod_spec(old.value()), go_internal::pod_spec(&munged));
        errors.forbidden(&new, format!("{FORBIDDEN}\n{}", go_internal::diff(&before, &after, "PodSpec")));
    }
}

fn images(new: &Field, old: &Field, errors: &mut Errors) -> bool {
    if new.len() != old.len() {
        errors.forbidden(new, "pod updates may not add or remove containers");
        return false;
    }
    for image in new.items().map(|container| container.get("image")) {
        crate::checks::required(&image, errors);
    }
    true
}

/// Whether the rest is worth looking at.
fn deadline(new: &Field, old: &Field, errors: &mut Errors) -> bool {
    let (new, old) = (new.get("activeDeadlineSeconds"), old.get("activeDeadlineSeconds"));
    let found = errors.len();
    if new.exists() {
        crate::checks::in_range(&new, 0, i64::from(i32::MAX), errors);
        if old.exists() && old.int_or_zero() < new.int_or_zero() && new.int_or_zero() <= i64::from(i32::MAX) {
            errors.invalid(&new, "must be less than or equal to previous value");
        }
        return errors.len() == found;
    }
    if old.exists() {
        errors.invalid(&new, "must not update from a positive integer to nil value");
    }
    true
}

/// A toleration without its seconds: what identifies it.
fn identity(toleration: &Field) -> [String; 4] {
    ["key", "operator", "value", "effect"].map(|name| toleration.str_of(name).to_owned())
}

fn tolerations(new: &Field, old: &Field, errors: &mut Errors) {
    let new = new.get("tolerations");
    let kept = |t: Field| new.items().any(|n| identity(&n) == identity(&t));
    if !old.get("tolerations").items().all(kept) {
        errors.forbidden(&new, "existing toleration can not be modified except its tolerationSeconds");
    }
}

fn gates(new: &Field, old: &Field, errors: &mut Errors) {
    let old = old.get("schedulingGates");
    for gate in new.get("schedulingGates").items() {
        let name = gate.get("name");
        if !old.items().any(|o| o.str_of("name") == name.str()) {
            errors
                .forbidden(&name, format!("only deletion is allowed, but found new scheduling gate '{}'", name.str()));
        }
    }
}

fn node_selector(new: &Field, old: &Field, errors: &mut Errors) {
    let new = new.get("nodeSelector");
    let kept = |(key, value): (&str, Field)| new.value().get(key) == Some(value.value());
    if !old.get("nodeSelector").entries().all(kept) {
        errors.invalid(&new, "only additions to spec.nodeSelector are allowed (no mutations or deletions)");
    }
}

fn node_affinity(new: &Field, old: &Field, errors: &mut Errors) {
    let (new, old) = (new.dig(NODE_TERMS), old.dig(NODE_TERMS));
    if old.is_empty() {
        return;
    }
    if new.len() != old.len() {
        let shown = go_internal::compact_list(new.value(), "NodeSelectorTerm");
        errors.push(go::invalid(
            &new,
            &shown,
            "no additions/deletions to non-empty NodeSelectorTerms list are allowed",
        ));
        return;
    }
    for (n, o) in new.items().zip(old.items()) {
        let extended = ["matchExpressions", "matchFields"].iter().all(|list| {
            let (n, o) = (n.get(list), o.get(list));
            o.items().zip(n.items()).filter(|(a, b)| same(a, b)).count() == o.len()
        });
        if !extended || o.get("matchExpressions").is_empty() && o.get("matchFields").is_empty() && !same(&n, &o) {
            errors.push(go::invalid(&n, &go_internal::compact(n.value(), "NodeSelectorTerm"), ONLY_ADDITIONS));
        }
    }
}

/// The new spec with everything that may change set back.
fn munge(new: &Value, old: &Value, gated: bool) -> Value {
    let mut spec = new.clone();
    for name in ["containers", "initContainers"] {
        let olds = old[name].as_array().cloned().unwrap_or_default();
        let mut olds = olds.iter();
        crate::defaults::each(&mut spec, name, |c| {
            if let Some(before) = olds.next() {
                crate::defaults::keep(c, before, "image");
            }
        });
    }
    for name in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        crate::defaults::keep(&mut spec, old, name);
    }
    // Less than nothing counts as one second.
    let negative = |v: &Value| v["terminationGracePeriodSeconds"].as_i64().is_some_and(|s| s < 0);
    if negative(&spec) {
        spec["terminationGracePeriodSeconds"] = Value::from(1);
    }
    if negative(old) && spec["terminationGracePeriodSeconds"] == 1 {
        crate::defaults::keep(&mut spec, old, "terminationGracePeriodSeconds");
    }
    if gated {
        crate::defaults::keep(&mut spec, old, "nodeSelector");
        keep_node_affinity(&mut spec, old);
    }
    spec
}

/// While gated, node affinity may be narrowed (the required part is checked above); the rest of affinity may not change.
fn keep_node_affinity(spec: &mut Value, old: &Value) {
    let before = &old["affinity"];
    if crate::defaults::has(spec, "affinity") || before.is_object() {
        crate::defaults::keep(crate::defaults::ensure(spec, "affinity"), before, "nodeAffinity");
    }
}

/// What may change through a subresource.
pub(crate) fn part(part: Part, new: &Field, old: &Field, errors: &mut Errors) {
    match part {
        Part::Main => {}
        Part::Status => status(new, old, errors),
        // Binding and the like write what was checked before.
        Part::Other(name) if !["ephemeralcontainers", "resize"].contains(&name) => {}
        Part::Other(name) => {
            let owner = Owner::Pod(new.get("metadata").str_of("name"));
            pod_spec(&new.get("spec"), &owner, errors);
            match name {
                "ephemeralcontainers" => ephemeral_containers(new, old, errors),
                "resize" => resize(new, old, errors),
                _ => {}
            }
        }
    }
}

/// Debug containers are only ever added.
fn ephemeral_containers(new: &Field, old: &Field, errors: &mut Errors) {
    let (new, old) = (new.dig("spec.ephemeralContainers"), old.dig("spec.ephemeralContainers"));
    for before in old.items() {
        let name = before.str_of("name");
        match new.items().find(|c| c.str_of("name") == name) {
            None => errors.forbidden(&new, format!("existing ephemeral containers \"{name}\" may not be removed\n")),
            Some(after) if !same(&after, &before) => {
                errors.forbidden(&new, format!("existing ephemeral containers \"{name}\" may not be changed\n"));
            }
            Some(_) => {}
        }
    }
}

/// Only CPU and memory of containers may be resized, and not so that the pod changes its class.
fn resize(new: &Field, old: &Field, errors: &mut Errors) {
    let (spec, before) = (new.get("spec"), old.get("spec"));
    let class = crate::pod::qos::class;
    if class(spec.value()) != class(before.value()) {
        let at = Field::at(spec.value(), spec.path().clone());
        errors.invalid_as(&at, class(spec.value()), "Pod QOS Class may not change as a result of resizing");
    }
    let mut munged = spec.value().clone();
    for list in ["containers", "initContainers"] {
        let olds = before.value()[list].as_array().cloned().unwrap_or_default();
        let mut olds = olds.iter();
        crate::defaults::each(&mut munged, list, |c| {
            let Some(b) = olds.next() else { return };
            for kind in ["requests", "limits"] {
                for name in ["cpu", "memory"] {
                    let resources = crate::defaults::ensure(c, "resources");
                    crate::defaults::keep(crate::defaults::ensure(resources, kind), &b["resources"][kind], name);
                }
            }
            crate::defaults::keep(c, b, "resizePolicy");
        });
    }
    crate::defaults::keep(&mut munged, before.value(), "resources");
    if !same(&Field::root(&munged), &before) {
        errors.forbidden(&spec, "only cpu and memory resources are mutable");
    }
}

/// A container that ended for good stays ended.
fn status(new: &Field, old: &Field, errors: &mut Errors) {
    let policy = old.dig("spec.restartPolicy");
    if policy.str() == "Always" {
        return;
    }
    let (list, before) = (new.dig("status.containerStatuses"), old.dig("status.containerStatuses"));
    for ended in before.items().filter(|s| s.get("state").has("terminated")) {
        let name = ended.str_of("name");
        let own = new.dig("spec.containers").items().find(|c| c.str_of("name") == name);
        if own.is_some_and(|c| c.has("restartPolicy")) {
            continue;
        }
        let code = ended.dig("state.terminated.exitCode").int_or_zero();
        if code != 0 && policy.str() == "OnFailure" {
            continue;
        }
        for status in list.items().filter(|s| s.str_of("name") == name) {
            if !status.get("state").has("terminated") {
                errors.forbidden(&status.get("state"), "may not be transitioned to non-terminated state");
            }
        }
    }
}
