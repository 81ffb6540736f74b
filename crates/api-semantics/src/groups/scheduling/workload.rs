//! Workload: the pod groups of an application.

use std::collections::BTreeSet;

use super::pod_group::policy;
use crate::checks::{IMMUTABLE, required_name, same};
use crate::field::{Errors, Field};
use crate::kind::Kind;
use crate::names;

/// Templates in one workload.
const MAX_TEMPLATES: usize = 8;

pub(crate) static KIND: Kind =
    Kind { generation: true, validate_create, validate_change, labels_validated: 3, ..Kind::PLAIN };

fn validate_create(workload: &Field, errors: &mut Errors) {
    let spec = workload.get("spec");
    controller(&spec.get("controllerRef"), errors);
    let templates = spec.get("podGroupTemplates");
    count(&templates, errors);
    if templates.len() > MAX_TEMPLATES {
        return;
    }
    let mut seen = BTreeSet::new();
    for template in templates.items() {
        let name = template.get("name");
        required_name(&name, names::dns1123_label, errors);
        if !seen.insert(name.str()) {
            errors.duplicate(&template);
        }
        policy(&template.get("schedulingPolicy"), errors);
    }
}

fn count(templates: &Field, errors: &mut Errors) {
    if templates.is_empty() {
        errors.required(templates, "must have at least one item");
    } else if templates.len() > MAX_TEMPLATES {
        errors.too_many(templates, MAX_TEMPLATES);
    }
}

fn controller(reference: &Field, errors: &mut Errors) {
    if !reference.exists() {
        return;
    }
    crate::checks::optional_name(&reference.get("apiGroup"), names::dns1123_subdomain, errors);
    for name in ["kind", "name"] {
        required_name(&reference.get(name), names::path_segment, errors);
    }
}

/// A controller may be named once; the templates never change.
fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    let (spec, before) = (new.get("spec"), old.get("spec"));
    let reference = spec.get("controllerRef");
    if !before.has("controllerRef") {
        controller(&reference, errors);
    } else if !same(&reference, &before.get("controllerRef")) {
        errors.invalid(&reference, IMMUTABLE);
    }
    let templates = spec.get("podGroupTemplates");
    if !same(&templates, &before.get("podGroupTemplates")) {
        errors.invalid(&templates, IMMUTABLE);
    }
    count(&templates, errors);
}
