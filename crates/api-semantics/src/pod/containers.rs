//! Validation of containers: names, images, ports, resources, mounts.

use std::collections::BTreeSet;

use super::env;
use super::probes;
use super::resource_names::{amount, is_huge_pages, is_native, resource_name};
use super::security;
use super::volumes::Volumes;
use crate::checks::{one_of, optional_one_of, port_number, required_one_of};
use crate::field::{Errors, Field};
use crate::names;
use crate::quantity;

/// What containers refer to in their pod.
pub(super) struct Scope<'a> {
    pub(super) volumes: &'a Volumes<'a>,
    pub(super) claims: &'a BTreeSet<&'a str>,
    pub(super) restart_policy: &'a str,
    pub(super) host_network: bool,
    pub(super) grace_period: Option<i64>,
}

const WITHOUT_RESTART: &str = "may not be set for init containers without restartPolicy=Always";

pub(super) fn validate(spec: &Field, scope: &Scope, errors: &mut Errors) {
    let mut names = BTreeSet::new();
    let main = spec.get("containers");
    if main.is_empty() {
        errors.required(&main, "");
    }
    for container in main.items() {
        common(&container, scope, errors);
        unique_name(&container, &mut names, errors);
        probes::lifecycle(&container, scope, errors);
        probes::validate(&container, errors);
        restart_rules(&container, errors);
    }
    host_port_conflicts(&main, errors);
    for container in spec.get("initContainers").items() {
        init_container(&container, scope, &mut names, errors);
    }
    for container in spec.get("ephemeralContainers").items() {
        ephemeral_container(&container, scope, &mut names, &main, errors);
    }
}

fn unique_name<'a>(container: &Field<'a>, names: &mut BTreeSet<&'a str>, errors: &mut Errors) {
    let name = container.get("name");
    if !name.str().is_empty() && !names.insert(name.str()) {
        errors.duplicate(&name);
    }
}

fn init_container<'a>(container: &Field<'a>, scope: &Scope, names: &mut BTreeSet<&'a str>, errors: &mut Errors) {
    common(container, scope, errors);
    unique_name(container, names, errors);
    restart_rules(container, errors);
    if container.str_of("restartPolicy") == "Always" {
        probes::lifecycle(container, scope, errors);
        probes::validate(container, errors);
    } else {
        for name in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if container.has(name) {
                errors.forbidden(&container.get(name), WITHOUT_RESTART);
            }
        }
    }
    host_port_conflicts(&Field::at(container.value(), container.path().clone()), errors);
}

fn restart_rules(container: &Field, errors: &mut Errors) {
    let policy = container.get("restartPolicy");
    optional_one_of(&policy, &["Always", "Never", "OnFailure"], errors);
    let rules = container.get("restartPolicyRules");
    if !policy.exists() && !rules.is_empty() {
        errors.required(&policy, "must specify restartPolicy when restart rules are used");
    }
    if rules.len() > 20 {
        errors.too_long(&rules, 20);
    }
    for rule in rules.items() {
        optional_one_of(&rule.get("action"), &["Restart", "RestartAllContainers"], errors);
        let codes = rule.get("exitCodes");
        if codes.exists() {
            one_of(&codes.get("operator"), &["In", "NotIn"], errors);
            if codes.get("values").len() > 255 {
                errors.too_long(&codes.get("values"), 255);
            }
        } else {
            errors.required(&codes, "must be specified");
        }
    }
}

fn ephemeral_container<'a>(
    container: &Field<'a>,
    scope: &Scope,
    names: &mut BTreeSet<&'a str>,
    main: &Field<'a>,
    errors: &mut Errors,
) {
    common(container, scope, errors);
    unique_name(container, names, errors);
    let target = container.get("targetContainerName");
    let known = main.items().any(|c| c.str_of("name") == target.str());
    if !target.str().is_empty() && !known {
        errors.not_found(&target);
    }
    for name in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe", "ports", "resources", "resizePolicy"] {
        if !container.get(name).is_zero() {
            errors.forbidden(&container.get(name), "cannot be set for an Ephemeral Container");
        }
    }
    for mount in container.get("volumeMounts").items() {
        for name in ["subPath", "subPathExpr"] {
            if !mount.str_of(name).is_empty() {
                errors.forbidden(&mount.get(name), "cannot be set for an Ephemeral Container");
            }
        }
    }
}

fn common(container: &Field, scope: &Scope, errors: &mut Errors) {
    let (name, image) = (container.get("name"), container.get("image"));
    crate::checks::required_name(&name, names::dns1123_label, errors);
    if image.str().is_empty() {
        errors.required(&image, "");
    }
    required_one_of(&container.get("terminationMessagePolicy"), &["File", "FallbackToLogsOnError"], errors);
    ports(&container.get("ports"), scope, errors);
    env::validate(container, errors);
    mounts(container, scope, errors);
    devices(container, scope, errors);
    super::spec::pull_policy(container, errors);
    resources(&container.get("resources"), scope.claims, errors);
    resize_policy(container, scope, errors);
    security::container_security_context(&container.get("securityContext"), errors);
}

/// Only of real pods: templates of older versions may hold anything.
pub(super) fn trimmed_images(spec: &Field, errors: &mut Errors) {
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in spec.get(list).items() {
            let image = container.get("image");
            if image.str() != image.str().trim() {
                errors.invalid(&image, "must not have leading or trailing whitespace");
            }
        }
    }
}

fn ports(ports: &Field, scope: &Scope, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for port in ports.items() {
        let name = port.get("name");
        if !name.str().is_empty() {
            let messages = names::port_name(name.str());
            if !messages.is_empty() {
                errors.invalid_each(&name, messages);
            } else if !seen.insert(name.str()) {
                errors.duplicate(&name);
            }
        }
        let number = port.get("containerPort");
        if number.int_or_zero() == 0 {
            errors.required(&number, "");
        } else {
            port_number(&number, errors);
        }
        let host = port.get("hostPort");
        if host.int_or_zero() != 0 {
            port_number(&host, errors);
        }
        if scope.host_network && host.int_or_zero() != number.int_or_zero() {
            errors.invalid_int(&number, "must match `hostPort` when `hostNetwork` is true");
        }
        required_one_of(&port.get("protocol"), &["SCTP", "TCP", "UDP"], errors);
    }
}

/// The same port of the host twice, in one container or in several.
fn host_port_conflicts(containers: &Field, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    let one = containers.value().is_object().then(|| containers.clone());
    for container in one.into_iter().chain(containers.items()) {
        for port in container.get("ports").items() {
            let host = port.get("hostPort");
            if host.int_or_zero() == 0 {
                continue;
            }
            let key = format!("{}/{}/{}", port.str_of("protocol"), port.str_of("hostIP"), host.int_or_zero());
            if !seen.insert(key.clone()) {
                errors.duplicate_as(&host, key);
            }
        }
    }
}

fn mounts(container: &Field, scope: &Scope, errors: &mut Errors) {
    let list = container.get("volumeMounts");
    let mut paths = BTreeSet::new();
    let devices: BTreeSet<&str> = container.get("volumeDevices").items().map(|d| d.str_of("devicePath")).collect();
    for mount in list.items() {
        let name = mount.get("name");
        if name.str().is_empty() {
            errors.required(&name, "");
        }
        if !scope.volumes.contains_key(name.str()) {
            errors.push(api_types::FieldError::not_found(name.path(), name.str()));
        }
        let path = mount.get("mountPath");
        if path.str().is_empty() {
            errors.required(&path, "");
        }
        if !paths.insert(path.str()) {
            errors.invalid_str(&path, "must be unique");
        }
        if devices.contains(path.str()) {
            errors.invalid_str(&path, "must not already exist as a path in volumeDevices");
        }
        sub_paths(&mount, errors);
        mount_modes(&mount, &list, container, errors);
    }
}

fn sub_paths(mount: &Field, errors: &mut Errors) {
    let (path, expression) = (mount.get("subPath"), mount.get("subPathExpr"));
    for field in [&path, &expression] {
        if !field.str().is_empty() {
            super::volumes::descending_path(field, errors);
        }
    }
    if !path.str().is_empty() && !expression.str().is_empty() {
        errors.invalid(&expression, "subPathExpr and subPath are mutually exclusive");
    }
}

/// Upstream shows these below the list, without an index.
fn mount_modes(mount: &Field, list: &Field, container: &Field, errors: &mut Errors) {
    let at = |name: &str| Field::at(mount.get(name).value(), list.path().child(name));
    let propagation = at("mountPropagation");
    optional_one_of(&propagation, &["Bidirectional", "HostToContainer", "None"], errors);
    let privileged = container.dig("securityContext.privileged").bool();
    if propagation.str() == "Bidirectional" && !privileged {
        errors.forbidden(&propagation, "Bidirectional mount propagation is available only to privileged containers");
    }
    let recursive = at("recursiveReadOnly");
    optional_one_of(&recursive, &["Disabled", "Enabled", "IfPossible"], errors);
    if matches!(recursive.str(), "Enabled" | "IfPossible") {
        if !mount.bool_of("readOnly") {
            errors.forbidden(&recursive, "may only be specified when readOnly is true");
        }
        if !matches!(propagation.str(), "" | "None") {
            errors.forbidden(&recursive, "may only be specified when mountPropagation is None or not specified");
        }
    }
}

fn devices(container: &Field, scope: &Scope, errors: &mut Errors) {
    let mounted: BTreeSet<&str> = container.get("volumeMounts").items().map(|m| m.str_of("mountPath")).collect();
    let (mut paths, mut used) = (BTreeSet::new(), BTreeSet::new());
    for device in container.get("volumeDevices").items() {
        let (name, path) = (device.get("name"), device.get("devicePath"));
        if name.str().is_empty() {
            errors.required(&name, "");
        }
        if !used.insert(name.str()) {
            errors.invalid_str(&name, "must be unique");
        }
        match scope.volumes.get(name.str()) {
            Some(volume) if !volume.has("persistentVolumeClaim") && !volume.has("ephemeral") => errors
                .invalid(&name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"),
            Some(_) => {}
            None => errors.push(api_types::FieldError::not_found(name.path(), name.str())),
        }
        if path.str().is_empty() {
            errors.required(&path, "");
        }
        if !paths.insert(path.str()) {
            errors.invalid_str(&path, "must be unique");
        }
        if !path.str().is_empty() && path.str().split('/').any(|p| p == "..") {
            errors.invalid(&path, "can not contain backsteps ('..')");
        } else if mounted.contains(path.str()) {
            errors.invalid_str(&path, "must not already exist as a path in volumeMounts");
        }
    }
}

fn resize_policy(container: &Field, scope: &Scope, errors: &mut Errors) {
    let list = container.get("resizePolicy");
    let mut seen = BTreeSet::new();
    for item in list.items() {
        let (resource, policy) = (item.get("resourceName"), item.get("restartPolicy"));
        if !seen.insert(resource.str()) {
            errors.duplicate_as(&item, resource.str());
        }
        for (field, words) in [(&resource, ["cpu", "memory"]), (&policy, ["NotRequired", "RestartContainer"])] {
            let at_list = Field::at(field.value(), list.path().clone());
            required_one_of(&at_list, &words, errors);
        }
        if scope.restart_policy == "Never" && policy.str() == "RestartContainer" {
            let at_list = Field::at(policy.value(), list.path().clone());
            errors.invalid(&at_list, "must be 'NotRequired' when `restartPolicy` is 'Never'");
        }
    }
}

pub(super) fn resources(resources: &Field, claims: &BTreeSet<&str>, errors: &mut Errors) {
    let (limits, requests) = (resources.get("limits"), resources.get("requests"));
    for (name, field) in limits.entries() {
        resource_name(name, &field, errors);
        amount(name, &field, errors);
    }
    for (name, field) in requests.entries() {
        resource_name(name, &field, errors);
        amount(name, &field, errors);
        let limit = limits.entry(name);
        within_limit(name, &requests, (&field, &limit), &limits, errors);
    }
    let mut seen = BTreeSet::new();
    for claim in resources.get("claims").items() {
        let name = claim.get("name");
        if name.str().is_empty() {
            errors.required(&name, "");
        } else {
            let key = (name.str(), claim.str_of("request"));
            if !seen.insert(key) {
                errors.duplicate(&name);
            }
            if !claims.contains(name.str()) {
                errors.not_found(&name);
            }
        }
    }
}

fn within_limit(name: &str, requests: &Field, (request, limit): (&Field, &Field), limits: &Field, errors: &mut Errors) {
    let overcommit = is_native(name) && !is_huge_pages(name);
    let Some(asked) = quantity::of(request.value()) else { return };
    match quantity::of(limit.value()) {
        Some(limit) if asked != limit && !overcommit => {
            errors.invalid_as(requests, asked.to_string(), format!("must be equal to {name} limit of {limit}"))
        }
        Some(limit) if asked > limit => errors.invalid_as(
            requests,
            asked.to_string(),
            format!("must be less than or equal to {name} limit of {limit}"),
        ),
        None if !overcommit => errors.required(limits, "Limit must be set for non overcommitable resources"),
        _ => {}
    }
}

/// Resources of the whole pod.
pub(super) fn pod_resources(spec: &Field, errors: &mut Errors) {
    let resources = spec.get("resources");
    for list in ["limits", "requests"] {
        for (name, field) in resources.get(list).entries() {
            let known = matches!(name, "cpu" | "memory") || is_huge_pages(name);
            if !known {
                errors.push(api_types::FieldError::not_supported(field.path(), name, &["cpu", "hugepages-", "memory"]));
            }
            amount(name, &field, errors);
        }
    }
    if !resources.get("claims").is_empty() {
        errors.forbidden(&resources.get("claims"), "claims cannot be set for Resources at pod-level");
    }
    let (limits, requests) = (resources.get("limits"), resources.get("requests"));
    for (name, field) in requests.entries() {
        within_limit(name, &requests, (&field, &limits.entry(name)), &limits, errors);
    }
}
