//! The group `admissionregistration.k8s.io`.

mod expressions;
mod mutating_admission_policy;
mod mutating_admission_policy_binding;
mod mutating_webhook_configuration;
mod policies;
mod rules;
mod validating_admission_policy;
mod validating_admission_policy_binding;
mod validating_webhook_configuration;
mod webhooks;

pub(crate) use policies::mixed_case;

use serde_json::{Value, json};

use crate::defaults::{each, ensure, set, within};
use crate::kind::Kind;

fn webhook_defaults(webhook: &mut Value) {
    set(webhook, "failurePolicy", "Fail");
    set(webhook, "matchPolicy", "Equivalent");
    set(webhook, "namespaceSelector", json!({}));
    set(webhook, "objectSelector", json!({}));
    set(webhook, "timeoutSeconds", 10);
    within(ensure(webhook, "clientConfig"), "service", |s| set(s, "port", 443));
    each(webhook, "rules", |r| set(r, "scope", "*"));
}

fn match_resources_defaults(resources: &mut Value) {
    set(resources, "matchPolicy", "Equivalent");
    set(resources, "namespaceSelector", json!({}));
    set(resources, "objectSelector", json!({}));
    for rules in ["resourceRules", "excludeResourceRules"] {
        each(resources, rules, |r| set(r, "scope", "*"));
    }
}

/// The kinds of the group, and the version that an entry is limited to.
pub(crate) static KINDS: &[(&str, Option<&str>, &Kind)] = &[
    ("MutatingAdmissionPolicy", None, &mutating_admission_policy::KIND),
    ("MutatingAdmissionPolicyBinding", None, &mutating_admission_policy_binding::KIND),
    ("MutatingWebhookConfiguration", None, &mutating_webhook_configuration::KIND),
    ("ValidatingAdmissionPolicy", None, &validating_admission_policy::KIND),
    ("ValidatingAdmissionPolicyBinding", None, &validating_admission_policy_binding::KIND),
    ("ValidatingWebhookConfiguration", None, &validating_webhook_configuration::KIND),
];
