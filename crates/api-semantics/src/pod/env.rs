//! Validation of environment variables and of the references they share with volumes.

use crate::field::{Errors, Field};
use crate::names;
use crate::quantity;

const SOURCES: [&str; 5] = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
/// What an environment variable may take from its pod, beside single labels and annotations.
const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const VOLUME_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
/// Field paths that exist, though not all are offered everywhere.
const CONVERTIBLE: [&str; 8] = [
    "metadata.annotations",
    "metadata.labels",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.hostNetwork",
    "status.phase",
    "status.nominatedNodeName",
    "status.podIPs",
];

pub(super) fn validate(container: &Field, errors: &mut Errors) {
    for variable in container.get("env").items() {
        let name = variable.get("name");
        crate::checks::required_name(&name, names::env_var_name, errors);
        let from = variable.get("valueFrom");
        if from.exists() {
            value_from(&variable, &from, errors);
        }
    }
    let list = container.get("envFrom");
    for item in list.items() {
        env_from(&item, &list, errors);
    }
}

fn value_from(variable: &Field, from: &Field, errors: &mut Errors) {
    let (field, resource) = (from.get("fieldRef"), from.get("resourceFieldRef"));
    if field.exists() {
        field_ref(&field, &ENV_FIELDS, errors);
    }
    if resource.exists() {
        resource_field_ref(&resource, false, errors);
    }
    for name in ["configMapKeyRef", "secretKeyRef"] {
        let source = from.get(name);
        if source.exists() {
            key_ref(&source, errors);
        }
    }
    file_key_ref(&from.get("fileKeyRef"), errors);
    let count = SOURCES.iter().filter(|s| from.has(s)).count();
    if count == 0 {
        let words =
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.invalid_as(from, "", words);
    } else if !variable.str_of("value").is_empty() {
        errors.invalid_as(from, "", "may not be specified when `value` is not empty");
    } else if count > 1 {
        errors.invalid_as(from, "", "may not have more than one field specified at a time");
    }
}

fn file_key_ref(source: &Field, errors: &mut Errors) {
    if !source.exists() {
        return;
    }
    let (volume, path, key) = (source.get("volumeName"), source.get("path"), source.get("key"));
    crate::checks::required_name(&volume, names::dns1123_label, errors);
    crate::checks::required_name(&key, names::env_var_name, errors);
    if path.str().is_empty() {
        errors.required(&path, "");
    } else {
        super::volumes::local_path(&path, errors);
    }
}

/// A reference to a field of the pod; single labels and annotations are `metadata.labels['key']`.
pub(super) fn field_ref(source: &Field, allowed: &[&str], errors: &mut Errors) {
    let (version, path) = (source.get("apiVersion"), source.get("fieldPath"));
    if version.str().is_empty() {
        errors.required(&version, "");
        return;
    }
    if path.str().is_empty() {
        errors.required(&path, "");
        return;
    }
    if let Some((base, key)) = subscript(path.str()) {
        return subscripted(&path, base, key, errors);
    }
    let text = path.str();
    if !ENV_FIELDS.contains(&text) && !CONVERTIBLE.contains(&text) {
        errors.invalid(&path, format!("error converting fieldPath: field label not supported: {text}"));
    } else if !allowed.contains(&text) {
        errors.not_supported(&path, allowed);
    }
}

fn subscript(path: &str) -> Option<(&str, &str)> {
    let (base, rest) = path.split_once("['")?;
    Some((base, rest.strip_suffix("']")?))
}

fn subscripted(path: &Field, base: &str, key: &str, errors: &mut Errors) {
    let messages = match base {
        "metadata.annotations" => names::qualified_name(&key.to_lowercase()),
        "metadata.labels" => names::qualified_name(key),
        _ => vec!["does not support subscript".to_owned()],
    };
    for message in messages {
        if base.starts_with("metadata.") {
            errors.invalid_as(path, key, message);
        } else {
            errors.invalid_as(path, base, message);
        }
    }
}

/// A reference to a container's requests or limits.
pub(super) fn resource_field_ref(source: &Field, in_volume: bool, errors: &mut Errors) {
    let (container, resource) = (source.get("containerName"), source.get("resource"));
    if in_volume && container.str().is_empty() {
        errors.required(&container, "");
        return;
    }
    let name = resource.str();
    if name.is_empty() {
        errors.required(&resource, "");
    } else if !RESOURCES.contains(&name) && !is_huge_pages(name) {
        errors.not_supported(&resource, &RESOURCES);
    }
    divisor(name, &source.get("divisor"), errors);
}

fn is_huge_pages(name: &str) -> bool {
    name.starts_with("requests.hugepages-") || name.starts_with("limits.hugepages-")
}

fn divisor(resource: &str, field: &Field, errors: &mut Errors) {
    const SIZES: &str = "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei";
    let Some(value) = quantity::of(field.value()).filter(|q| !q.is_zero()) else { return };
    let text = value.to_string();
    let (allowed, what) = match resource.split_once('.').map_or("", |(_, r)| r) {
        "cpu" => ("1m, 1", "cpu"),
        "memory" => (SIZES, "memory"),
        "ephemeral-storage" => (SIZES, "local ephemeral storage"),
        r if r.starts_with("hugepages-") => (SIZES, "hugepages"),
        _ => return,
    };
    if !allowed.split(", ").any(|a| a == text) {
        let listed = if what == "cpu" { "1m and 1" } else { allowed };
        errors.invalid_as(
            field,
            resource,
            format!("only divisor's values {listed} are supported with the {what} resource"),
        );
    }
}

/// A key of a ConfigMap or Secret.
fn key_ref(source: &Field, errors: &mut Errors) {
    let (name, key) = (source.get("name"), source.get("key"));
    errors.invalid_each(&name, names::dns1123_subdomain(name.str()));
    crate::checks::required_name(&key, names::config_key, errors);
}

/// Upstream shows the list, without an index, when nothing is referred to.
fn env_from(item: &Field, list: &Field, errors: &mut Errors) {
    let prefix = item.get("prefix");
    if !prefix.str().is_empty() {
        errors.invalid_each(&prefix, names::env_var_name(prefix.str()));
    }
    let mut count = 0;
    for name in ["configMapRef", "secretRef"] {
        let reference = item.get(name);
        if reference.exists() {
            count += 1;
            crate::checks::required_name(&reference.get("name"), names::dns1123_subdomain, errors);
        }
    }
    if count == 0 {
        errors.invalid_as(list, "", "must specify one of: `configMapRef` or `secretRef`");
    } else if count > 1 {
        errors.invalid_as(list, "", "may not have more than one field specified at a time");
    }
}

/// A file of a downward API volume. Upstream shows errors below the volume, without the item's index.
pub(super) fn downward_file(item: &Field, at: &Field, errors: &mut Errors) {
    let below = |name: &str| Field::at(item.get(name).value(), at.path().child(name));
    let path = below("path");
    if path.str().is_empty() {
        errors.required(&path, "");
    }
    super::volumes::local_path(&path, errors);
    let (field, resource) = (below("fieldRef"), below("resourceFieldRef"));
    if field.exists() {
        field_ref(&field, &VOLUME_FIELDS, errors);
        if resource.exists() {
            errors.invalid_as(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
        }
    } else if resource.exists() {
        resource_field_ref(&resource, true, errors);
    } else {
        errors.required(at, "one of fieldRef and resourceFieldRef is required");
    }
    super::volumes::mode(&below("mode"), errors);
}
