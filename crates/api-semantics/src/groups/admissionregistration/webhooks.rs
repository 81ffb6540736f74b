//! Validation of webhook configurations.

use std::collections::BTreeSet;

use super::expressions::Expressions;
use super::rules::{match_conditions, rule};
use crate::checks::optional_one_of;
use crate::field::{Errors, Field};
use crate::names;
use crate::selectors;

pub(super) fn validate(configuration: &Field, mutating: bool, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for webhook in configuration.get("webhooks").items() {
        one_webhook(&webhook, mutating, errors);
        let name = webhook.get("name");
        if !name.str().is_empty() && !seen.insert(name.str()) {
            errors.duplicate(&name);
        }
        review_versions(&webhook.get("admissionReviewVersions"), errors);
    }
}

fn one_webhook(webhook: &Field, mutating: bool, errors: &mut Errors) {
    qualified(&webhook.get("name"), errors);
    for item in webhook.get("rules").items() {
        rule(&item, errors);
    }
    optional_one_of(&webhook.get("failurePolicy"), &["Fail", "Ignore"], errors);
    optional_one_of(&webhook.get("matchPolicy"), &["Equivalent", "Exact"], errors);
    let effects = webhook.get("sideEffects");
    if effects.exists() {
        optional_one_of(&effects, &["None", "NoneOnDryRun"], errors);
    } else {
        errors.required(&effects, "must specify one of None, NoneOnDryRun");
    }
    if mutating {
        optional_one_of(&webhook.get("reinvocationPolicy"), &["IfNeeded", "Never"], errors);
    }
    let timeout = webhook.get("timeoutSeconds");
    if timeout.exists() && !(1..=30).contains(&timeout.int_or_zero()) {
        errors.invalid(&timeout, "the timeout value must be between 1 and 30 seconds");
    }
    for name in ["namespaceSelector", "objectSelector"] {
        selectors::validate(&webhook.get(name), errors);
    }
    crate::webhooks::client_config(&webhook.get("clientConfig"), errors);
    match_conditions(&webhook.get("matchConditions"), &Expressions::of_webhook(), errors);
}

/// A fully qualified domain name of at least three labels.
fn qualified(name: &Field, errors: &mut Errors) {
    if name.str().is_empty() {
        errors.required(name, "");
        return;
    }
    let messages = names::dns1123_subdomain(name.str());
    if !messages.is_empty() {
        errors.invalid_each(name, messages);
    } else if name.str().split('.').count() < 3 {
        errors.invalid(name, "should be a domain with at least three segments separated by dots");
    }
}

fn review_versions(versions: &Field, errors: &mut Errors) {
    if versions.is_empty() {
        errors.required(versions, "must specify one of v1, v1beta1");
        return;
    }
    let (mut seen, mut known) = (BTreeSet::new(), false);
    for version in versions.items() {
        if !seen.insert(version.str()) {
            errors.invalid(&version, "duplicate version");
            continue;
        }
        errors.invalid_each(&version, names::dns1035_label(version.str()));
        known |= ["v1", "v1beta1"].contains(&version.str());
    }
    if !known {
        errors.invalid(versions, "must include at least one of v1, v1beta1");
    }
}
