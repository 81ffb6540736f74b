//! The group `rbac.authorization.k8s.io`.

mod cluster_role;
mod cluster_role_binding;
mod role;
mod role_binding;

use serde_json::Value;

use crate::checks::same;
use crate::defaults::{each, ensure, set_zero, text};
use crate::field::{Errors, Field};
use crate::go;
use crate::kind::Kind;
use crate::names;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Roles, users and groups belong to the RBAC group; service accounts to core.
fn binding_defaults(binding: &mut Value) {
    set_zero(ensure(binding, "roleRef"), "apiGroup", GROUP);
    each(binding, "subjects", |subject| {
        if matches!(text(subject, "kind"), "User" | "Group") {
            set_zero(subject, "apiGroup", GROUP);
        }
    });
}

/// The kinds of the group, and the version that an entry is limited to.
pub(crate) static KINDS: &[(&str, Option<&str>, &Kind)] = &[
    ("ClusterRole", None, &cluster_role::KIND),
    ("ClusterRoleBinding", None, &cluster_role_binding::KIND),
    ("Role", None, &role::KIND),
    ("RoleBinding", None, &role_binding::KIND),
];

fn rules(role: &Field, namespaced: bool, errors: &mut Errors) {
    for rule in role.get("rules").items() {
        if rule.get("verbs").is_empty() {
            errors.required(&rule.get("verbs"), "verbs must contain at least one value");
        }
        let urls = rule.get("nonResourceURLs");
        let (groups, resources) = (rule.get("apiGroups"), rule.get("resources"));
        if !urls.is_empty() {
            if namespaced {
                errors.invalid(&urls, "namespaced rules cannot apply to non-resource URLs");
            }
            if !groups.is_empty() || !resources.is_empty() || !rule.get("resourceNames").is_empty() {
                errors.invalid(&urls, "rules cannot apply to both regular resources and non-resource URLs");
            }
            continue;
        }
        if groups.is_empty() {
            errors.required(&groups, "resource rules must supply at least one api group");
        }
        if resources.is_empty() {
            errors.required(&resources, "resource rules must supply at least one resource");
        }
    }
}

fn binding(binding: &Field, namespaced: bool, errors: &mut Errors) {
    let reference = binding.get("roleRef");
    if reference.str_of("apiGroup") != GROUP {
        errors.not_supported(&reference.get("apiGroup"), &[GROUP]);
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    crate::checks::one_of(&reference.get("kind"), kinds, errors);
    crate::checks::required_name(&reference.get("name"), names::path_segment, errors);
    for subject in binding.get("subjects").items() {
        one_subject(&subject, namespaced, errors);
    }
}

fn one_subject(subject: &Field, namespaced: bool, errors: &mut Errors) {
    let (kind, name, group) = (subject.get("kind"), subject.get("name"), subject.get("apiGroup"));
    if name.str().is_empty() {
        errors.required(&name, "");
    }
    match kind.str() {
        "ServiceAccount" => {
            crate::checks::optional_name(&name, names::dns1123_subdomain, errors);
            if !group.str().is_empty() {
                errors.not_supported(&group, &[""]);
            }
            if !namespaced && subject.str_of("namespace").is_empty() {
                errors.required(&subject.get("namespace"), "");
            }
        }
        "User" | "Group" => {
            if group.str() != GROUP {
                errors.not_supported(&group, &[GROUP]);
            }
        }
        _ => errors.not_supported(&kind, &["ServiceAccount", "User", "Group"]),
    }
}

/// What a binding grants never changes; another role needs another binding.
fn binding_change(new: &Field, old: &Field, errors: &mut Errors) {
    let reference = new.get("roleRef");
    if !same(&reference, &old.get("roleRef")) {
        let shown = go::shown(&reference, &["apiGroup=APIGroup", "kind", "name"]);
        errors.push(go::invalid(&reference, &shown, "cannot change roleRef"));
    }
}
