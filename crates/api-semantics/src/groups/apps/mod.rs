//! The group `apps`.

mod controller_revision;
mod daemon_set;
mod deployment;
mod replica_set;
mod stateful_set;

use crate::field::{Errors, Field};
use crate::go;
use crate::kind::Kind;
use crate::selectors;

/// The kinds of the group, and the version that an entry is limited to.
pub(crate) static KINDS: &[(&str, Option<&str>, &Kind)] = &[
    ("ControllerRevision", None, &controller_revision::KIND),
    ("DaemonSet", None, &daemon_set::KIND),
    ("Deployment", None, &deployment::KIND),
    ("ReplicaSet", None, &replica_set::KIND),
    ("StatefulSet", None, &stateful_set::KIND),
];

/// The selector and template of deployments and replica sets; upstream shares the words, too.
fn selected_template(spec: &Field, kind: &str, errors: &mut Errors) {
    let (selector, template) = (spec.get("selector"), spec.get("template"));
    if !selector.exists() {
        errors.required(&selector, "");
    } else {
        selectors::validate(&selector, errors);
        if selectors::is_empty(&selector) {
            errors.invalid_as(
                &selector,
                selectors::shown(selector.value()),
                format!("empty selector is invalid for {kind}"),
            );
        }
    }
    if !selectors::is_valid(&selector) {
        errors.push(go::invalid(&selector, &go::selector(&selector), "invalid label selector"));
        return;
    }
    let labels = template.dig("metadata.labels");
    if !selector.exists() || !selectors::is_empty(&selector) && !selectors::matches(&selector, &labels) {
        errors.invalid(&labels, "`selector` does not match template `labels`");
    }
    crate::pod::pod_template(&template, errors);
    always_restarted(&template, "ReplicaSet", errors);
}

/// Pods of controllers that keep a number running must restart, and have no deadline.
fn always_restarted(template: &Field, kind: &str, errors: &mut Errors) {
    let policy = template.dig("spec.restartPolicy");
    if policy.str() != "Always" {
        errors.not_supported(&policy, &["Always"]);
    }
    let deadline = template.dig("spec.activeDeadlineSeconds");
    if deadline.exists() {
        errors.forbidden(&deadline, format!("activeDeadlineSeconds in {kind} is not Supported"));
    }
}

/// Which pods belong to a controller never changes.
fn immutable_selector(new: &Field, old: &Field, errors: &mut Errors) {
    let (new, old) = (new.dig("spec.selector"), old.dig("spec.selector"));
    if !crate::checks::same(&new, &old) {
        errors.push(go::invalid(&new, &go::selector(&new), crate::checks::IMMUTABLE));
    }
}
