//! Validation of pod specs and templates (upstream: `pkg/apis/core/validation`, `ValidatePodSpec`).

use std::collections::BTreeSet;

use super::containers::{self, Scope};
use super::{affinity, scheduling, security, volumes};
use crate::checks::{ip, one_of, optional_name, optional_one_of};
use crate::field::{Errors, Field};
use crate::names;
use crate::object_meta;

/// What contains the spec: a pod, whose name shows up in generated names, or a template.
pub(crate) enum Owner<'a> {
    Pod(&'a str),
    Template,
}

/// A pod template. Its metadata's errors stand directly below the template, as upstream has it.
pub(crate) fn pod_template(template: &Field, errors: &mut Errors) {
    template_metadata(template, errors);
    pod_spec(&template.get("spec"), &Owner::Template, errors);
    if !template.get("spec").get("ephemeralContainers").is_empty() {
        errors.forbidden(&template.dig("spec.ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
}

/// The labels and annotations of a template.
fn template_metadata(template: &Field, errors: &mut Errors) {
    let metadata = template.get("metadata");
    let below = |name: &str| Field::at(metadata.get(name).value(), template.path().child(name));
    object_meta::labels(&below("labels"), errors);
    object_meta::annotations(&below("annotations"), errors);
}

pub(crate) fn pod_spec(spec: &Field, owner: &Owner, errors: &mut Errors) {
    let volumes = volumes::validate(spec, owner, errors);
    let claims = resource_claims(&spec.get("resourceClaims"), errors);
    let scope = Scope {
        volumes: &volumes,
        claims: &claims,
        restart_policy: spec.str_of("restartPolicy"),
        host_network: spec.bool_of("hostNetwork"),
        grace_period: spec.get("terminationGracePeriodSeconds").int(),
    };
    containers::validate(spec, &scope, errors);
    if let Owner::Pod(_) = owner {
        volumes::token_accounts(spec, errors);
        containers::trimmed_images(spec, errors);
    }
    containers::pod_resources(spec, errors);
    one_of(&spec.get("restartPolicy"), &["Always", "OnFailure", "Never"], errors);
    dns(spec, errors);
    object_meta::labels(&spec.get("nodeSelector"), errors);
    security::pod_security_context(spec, errors);
    affinity::validate(&spec.get("affinity"), errors);
    scheduling::validate(spec, errors);
    identity(spec, errors);
    host_aliases(&spec.get("hostAliases"), errors);
    let os = spec.get("os");
    if os.exists() {
        operating_system(&os, errors);
    }
}

fn identity(spec: &Field, errors: &mut Errors) {
    optional_name(&spec.get("serviceAccountName"), names::dns1123_subdomain, errors);
    optional_name(&spec.get("nodeName"), names::dns1123_subdomain, errors);
    let deadline = spec.get("activeDeadlineSeconds");
    if deadline.exists() {
        crate::checks::in_range(&deadline, 1, i64::from(i32::MAX), errors);
    }
    optional_name(&spec.get("hostname"), names::dns1123_label, errors);
    optional_name(&spec.get("subdomain"), names::dns1123_label, errors);
    optional_name(&spec.get("priorityClassName"), names::dns1123_subdomain, errors);
    let class = spec.get("runtimeClassName");
    if class.exists() {
        errors.invalid_each(&class, names::dns1123_subdomain(class.str()));
    }
    let preemption = spec.get("preemptionPolicy");
    if preemption.exists() {
        if preemption.str().is_empty() {
            errors.required(&preemption, "");
        } else {
            one_of(&preemption, &["PreemptLowerPriority", "Never"], errors);
        }
    }
}

fn operating_system(os: &Field, errors: &mut Errors) {
    let name = os.get("name");
    if name.str().is_empty() {
        errors.required(&name, "");
    } else if !["linux", "windows"].contains(&name.str()) {
        errors.not_supported(&Field::at(name.value(), os.path().clone()), &["linux", "windows"]);
    }
}

fn dns(spec: &Field, errors: &mut Errors) {
    let policy = spec.get("dnsPolicy");
    let words = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    if policy.str().is_empty() {
        errors.required(&policy, "");
    } else {
        one_of(&policy, &words, errors);
    }
    let config = spec.get("dnsConfig");
    if policy.str() == "None" {
        if !config.exists() {
            errors.required(&config, "must provide `dnsConfig` when `dnsPolicy` is None");
            return;
        }
        if config.get("nameservers").is_empty() {
            errors.required(
                &config.get("nameservers"),
                "must provide at least one DNS nameserver when `dnsPolicy` is None",
            );
        }
    }
    dns_config(&config, errors);
}

fn dns_config(config: &Field, errors: &mut Errors) {
    let servers = config.get("nameservers");
    if servers.len() > 3 {
        errors.invalid(&servers, "must not have more than 3 nameservers");
    }
    for server in servers.items() {
        ip(&server, errors);
    }
    let searches = config.get("searches");
    if searches.len() > 32 {
        errors.invalid(&searches, "must not have more than 32 search paths");
    }
    let joined: usize = searches.items().map(|s| s.len() + 1).sum();
    if joined > 2049 {
        errors.invalid(&searches, "must not have more than 2048 characters (including spaces) in the search list");
    }
    for search in searches.items() {
        let text = search.str();
        if text == "." {
            continue;
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        let messages = names::dns1123_subdomain_underscore(text);
        for message in messages {
            errors.invalid_as(&search, text, message);
        }
    }
    for option in config.get("options").items() {
        if option.str_of("name").is_empty() {
            errors.required(&option, "must not be empty");
        }
    }
}

fn host_aliases(aliases: &Field, errors: &mut Errors) {
    for alias in aliases.items() {
        ip(&alias.get("ip"), errors);
        for name in alias.get("hostnames").items() {
            errors.invalid_each(&name, names::dns1123_subdomain(name.str()));
        }
    }
}

/// The claims that containers may refer to, by name.
fn resource_claims<'a>(claims: &Field<'a>, errors: &mut Errors) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for claim in claims.items() {
        let name = claim.get("name");
        if name.str().is_empty() {
            errors.required(&name, "");
        } else if !seen.insert(name.str()) {
            errors.duplicate(&name);
        } else {
            errors.invalid_each(&name, names::dns1123_label(name.str()));
        }
        let (own, template) = (claim.get("resourceClaimName"), claim.get("resourceClaimTemplateName"));
        match (own.exists(), template.exists()) {
            (true, true) => errors
                .invalid(&claim, "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"),
            (false, false) => {
                errors.invalid(&claim, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`")
            }
            _ => {}
        }
        for reference in [own, template] {
            if reference.exists() {
                errors.invalid_each(&reference, names::dns1123_subdomain(reference.str()));
            }
        }
    }
    seen
}

/// The share of the process namespace and the like are words of a fixed set.
pub(super) fn pull_policy(container: &Field, errors: &mut Errors) {
    optional_one_of(&container.get("imagePullPolicy"), &["Always", "IfNotPresent", "Never"], errors);
}
