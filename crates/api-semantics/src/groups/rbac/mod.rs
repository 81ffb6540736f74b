//! The group `rbac.authorization.k8s.io`.

mod cluster_role;
mod cluster_role_binding;
mod role;
mod role_binding;

use serde_json::Value;

use crate::defaults::{each, ensure, set_zero, text};
use crate::kind::Kind;

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
