//! Rules, match conditions and match resources, which webhooks and policies share.

use std::collections::BTreeSet;

use super::expressions::Expressions;
use crate::cel::Results;
use crate::checks::one_of;
use crate::field::{Errors, Field};
use crate::names;
use crate::selectors;

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];

/// Operations and what they apply to.
pub(super) fn rule(rule: &Field, errors: &mut Errors) {
    let operations = rule.get("operations");
    list(&operations, "operations", errors);
    for operation in operations.items() {
        one_of(&operation, &OPERATIONS, errors);
    }
    list(&rule.get("apiGroups"), "API groups", errors);
    let versions = rule.get("apiVersions");
    list(&versions, "API versions", errors);
    for version in versions.items() {
        if version.str().is_empty() {
            errors.required(&version, "");
        }
    }
    resources(&rule.get("resources"), errors);
    let scope = rule.get("scope");
    if scope.exists() {
        one_of(&scope, &["*", "Cluster", "Namespaced"], errors);
    }
}

/// Not empty, and `*` stands alone.
fn list(list: &Field, what: &str, errors: &mut Errors) {
    if list.is_empty() {
        errors.required(list, "");
    } else if list.len() > 1 && list.items().any(|i| i.str() == "*") {
        errors.invalid(list, format!("if '*' is present, must not specify other {what}"));
    }
}

fn resources(list: &Field, errors: &mut Errors) {
    if list.is_empty() {
        errors.required(list, "");
    }
    let (mut double, mut single, mut plain) = (false, false, false);
    let (mut all_subs, mut all_resources) = (BTreeSet::new(), BTreeSet::new());
    for item in list.items() {
        let text = item.str();
        if text.is_empty() {
            errors.required(&item, "");
            continue;
        }
        double |= text == "*/*";
        single |= text == "*";
        let Some((resource, sub)) = text.split_once('/') else {
            plain = true;
            continue;
        };
        if all_subs.contains(resource) {
            errors.invalid(&item, format!("if '{resource}/*' is present, must not specify {text}"));
        }
        if all_resources.contains(sub) {
            errors.invalid(&item, format!("if '*/{sub}' is present, must not specify {text}"));
        }
        if sub == "*" {
            all_subs.insert(resource);
        }
        if resource == "*" {
            all_resources.insert(sub);
        }
    }
    if list.len() > 1 && double {
        errors.invalid(list, "if '*/*' is present, must not specify other resources");
    }
    if list.len() > 1 && single && plain {
        errors.invalid(list, "if '*' is present, must not specify other resources without subresources");
    }
}

/// Named CEL conditions.
pub(super) fn match_conditions(conditions: &Field, expressions: &Expressions, errors: &mut Errors) {
    if conditions.len() > 64 {
        errors.too_many(conditions, 64);
    }
    let mut seen = BTreeSet::new();
    for condition in conditions.items() {
        let (name, expression) = (condition.get("name"), condition.get("expression"));
        if expression.str().trim().is_empty() {
            errors.required(&expression, "");
        } else {
            expressions.check(&expression, true, &Results::truth(), errors);
        }
        if name.str().is_empty() {
            errors.required(&name, "");
        } else {
            errors.invalid_each(&name, names::qualified_name(name.str()));
            if !seen.insert(name.str()) {
                errors.duplicate(&name);
            }
        }
    }
}

/// Where a policy or binding applies.
pub(super) fn match_resources(resources: &Field, errors: &mut Errors) {
    let policy = resources.get("matchPolicy");
    crate::checks::optional_one_of(&policy, &["Equivalent", "Exact"], errors);
    for name in ["namespaceSelector", "objectSelector"] {
        let selector = resources.get(name);
        if selector.exists() {
            selectors::validate(&selector, errors);
        } else {
            errors.required(&selector, "");
        }
    }
    for name in ["resourceRules", "excludeResourceRules"] {
        for item in resources.get(name).items() {
            rule(&item, errors);
            let mut seen = BTreeSet::new();
            for resource_name in item.get("resourceNames").items() {
                errors.invalid_each(&resource_name, names::path_segment(resource_name.str()));
                if !seen.insert(resource_name.str()) {
                    errors.duplicate(&resource_name);
                }
            }
        }
    }
}
