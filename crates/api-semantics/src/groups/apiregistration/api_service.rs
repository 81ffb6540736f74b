//! APIService: an API group served by another server.

use serde_json::{Value, json};

use crate::defaults::{ensure, set, within};
use crate::field::{Errors, Field};
use crate::kind::{Kind, empty_status};
use crate::names;
use crate::object_meta::path_segment;
use crate::strategy::Context;

pub(crate) static KIND: Kind =
    Kind { initial_status: Some(empty_status), default, name: path_segment, validate, prepare_create, ..Kind::CLUSTER };

/// What this server answers itself is there at once.
fn prepare_create(context: &Context, service: &mut Value) {
    if service["spec"].get("service").is_none() {
        service["status"] = json!({ "conditions": [{
            "type": "Available", "status": "True", "lastTransitionTime": context.now.map(crate::time::rfc3339),
            "reason": "Local", "message": "Local APIServices are always available",
        }] });
    }
}

fn default(service: &mut Value) {
    ensure(service, "status");
    let spec = ensure(service, "spec");
    set(spec, "groupPriorityMinimum", 0);
    set(spec, "versionPriority", 0);
    within(spec, "service", |s| set(s, "port", 443));
}

fn validate(service: &Field, errors: &mut Errors) {
    let spec = service.get("spec");
    let (group, version) = (spec.get("group"), spec.get("version"));
    let name = service.get("metadata").get("name");
    let required_name = format!("{}.{}", version.str(), group.str());
    if !name.str().is_empty() && names::path_segment(name.str()).is_empty() && name.str() != required_name {
        errors.invalid(&name, format!("must be `spec.version+\".\"+spec.group`: \"{required_name}\""));
    }
    if group.str().is_empty() {
        if version.str() != "v1" {
            errors.required(&group, "only v1 may have an empty group and it better be legacy kube");
        }
    } else {
        errors.invalid_each(&group, names::dns1123_subdomain(group.str()));
    }
    errors.invalid_each(&version, names::dns1035_label(version.str()));
    for (name, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let priority = spec.get(name);
        if !(1..=most).contains(&priority.int_or_zero()) {
            errors.invalid_int(&priority, format!("must be positive and less than {most}"));
        }
    }
    backend(&spec, errors);
}

fn backend(spec: &Field, errors: &mut Errors) {
    let (service, insecure, bundle) = (spec.get("service"), spec.get("insecureSkipTLSVerify"), spec.get("caBundle"));
    if !service.exists() {
        if !bundle.is_empty() {
            errors.invalid_as(&bundle, format!("{} bytes", bundle.len()), "local APIServices may not have a caBundle");
        }
        if insecure.bool() {
            errors.invalid(&insecure, "local APIServices may not have insecureSkipTLSVerify");
        }
        return;
    }
    for name in ["namespace", "name"] {
        crate::checks::required(&service.get(name), errors);
    }
    crate::webhooks::port(&service.get("port"), errors);
    if insecure.bool() && !bundle.is_empty() {
        errors.invalid(&insecure, "may not be true if caBundle is present");
    }
}
