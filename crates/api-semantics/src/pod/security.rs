//! Validation of security contexts.

use std::collections::BTreeSet;

use crate::checks::{in_range, optional_one_of};
use crate::field::{Errors, Field};

const PROFILES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];
const MAX_ID: i64 = i32::MAX as i64;

fn id(field: &Field, errors: &mut Errors) {
    if field.exists() {
        in_range(field, 0, MAX_ID, errors);
    }
}

pub(super) fn pod_security_context(spec: &Field, errors: &mut Errors) {
    let context = spec.get("securityContext");
    if spec.bool_of("hostPID") && spec.bool_of("shareProcessNamespace") {
        errors.invalid(&spec.get("shareProcessNamespace"), "ShareProcessNamespace and HostPID cannot both be enabled");
    }
    for name in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(&context.get(name), errors);
    }
    for group in context.get("supplementalGroups").items() {
        id(&group, errors);
    }
    sysctls(&context.get("sysctls"), errors);
    optional_one_of(&context.get("fsGroupChangePolicy"), &["Always", "OnRootMismatch"], errors);
    optional_one_of(&context.get("seLinuxChangePolicy"), &["MountOption", "Recursive"], errors);
    optional_one_of(&context.get("supplementalGroupsPolicy"), &["Merge", "Strict"], errors);
    profiles(&context, errors);
}

fn sysctls(sysctls: &Field, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for sysctl in sysctls.items() {
        let name = sysctl.get("name");
        if name.str().is_empty() {
            errors.required(&name, "");
        } else if name.len() > 253 || !is_sysctl(name.str()) {
            errors.invalid(
                &name,
                r"must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
            );
        } else if !seen.insert(name.str()) {
            errors.duplicate(&name);
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.split(['.', '/']).all(|part| {
        let b = part.as_bytes();
        !b.is_empty() && edge(b[0]) && edge(b[b.len() - 1]) && b.iter().all(|c| edge(*c) || b"-_".contains(c))
    })
}

/// Seccomp and AppArmor profiles, of pods and containers alike.
fn profiles(context: &Field, errors: &mut Errors) {
    for (name, what) in [("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")] {
        let profile = context.get(name);
        if profile.exists() {
            one_profile(&profile, name, what, errors);
        }
    }
}

fn one_profile(profile: &Field, name: &str, what: &str, errors: &mut Errors) {
    let (kind, local) = (profile.get("type"), profile.get("localhostProfile"));
    match kind.str() {
        "Localhost" => {
            if local.str().is_empty() {
                errors.required(&local, &format!("must be set when {what} type is Localhost"));
            } else {
                super::volumes::descending_path(&local, errors);
            }
        }
        "" => errors.required(&kind, &format!("type is required when {name} is set")),
        "RuntimeDefault" | "Unconfined" => {}
        _ => errors.not_supported(&kind, &PROFILES),
    }
    if kind.str() != "Localhost" && local.exists() {
        errors.invalid(&local, format!("can only be set when {what} type is Localhost"));
    }
}

pub(super) fn container_security_context(context: &Field, errors: &mut Errors) {
    if !context.exists() {
        return;
    }
    for name in ["runAsUser", "runAsGroup"] {
        id(&context.get(name), errors);
    }
    optional_one_of(&context.get("procMount"), &["Default", "Unmasked"], errors);
    profiles(context, errors);
    let escalation = context.get("allowPrivilegeEscalation");
    if escalation.exists() && !escalation.bool() {
        if context.bool_of("privileged") {
            let shown = crate::go_internal::compact(context.value(), "SecurityContext");
            let words = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(crate::go::invalid(context, &shown, words));
        }
        let added = context.dig("capabilities.add");
        if added.items().any(|c| c.str() == "CAP_SYS_ADMIN") {
            errors.invalid(
                context,
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
            );
        }
    }
}
