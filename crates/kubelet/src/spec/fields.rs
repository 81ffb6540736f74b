//! Values of `fieldRef` and `resourceFieldRef`, for environment variables and downward API files.

use crate::pod::PodExt;
use api_types::k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use api_types::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use component_helpers::quantity::{milli_value, value};
use component_helpers::resources::Amounts;
use std::collections::BTreeMap;

/// Addresses that the pod's fields may refer to before the API knows them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Addresses {
    /// The pod's.
    pub pod: Vec<String>,
    /// The node's.
    pub host: Vec<String>,
}

/// The value of `path` in `pod`; an error names a path that does not exist.
pub(crate) fn field(pod: &Pod, path: &str, addresses: &Addresses) -> Result<String, String> {
    if let Some((map, key)) = subscript(path) {
        return match map {
            "metadata.labels" => Ok(entry(pod.metadata.labels.as_ref(), key)),
            "metadata.annotations" => Ok(entry(pod.metadata.annotations.as_ref(), key)),
            _ => Err(format!("invalid fieldRef path: {path}")),
        };
    }
    let first = |list: &[String]| list.first().cloned().unwrap_or_default();
    Ok(match path {
        "metadata.name" => pod.pod_name().to_owned(),
        "metadata.namespace" => pod.ns().to_owned(),
        "metadata.uid" => pod.pod_uid().to_owned(),
        "metadata.labels" => lines(pod.metadata.labels.as_ref()),
        "metadata.annotations" => lines(pod.metadata.annotations.as_ref()),
        "spec.nodeName" => pod.spec().node_name.clone().unwrap_or_default(),
        "spec.serviceAccountName" => pod.spec().service_account_name.clone().unwrap_or_default(),
        "status.hostIP" => first(&addresses.host),
        "status.hostIPs" => addresses.host.join(","),
        "status.podIP" => first(&addresses.pod),
        "status.podIPs" => addresses.pod.join(","),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// `map['key']` in its parts.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

fn entry(map: Option<&BTreeMap<String, String>>, key: &str) -> String {
    map.and_then(|map| map.get(key)).cloned().unwrap_or_default()
}

/// A map as downward API files show it: sorted `key="value"` lines.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let line = |(key, value): (&String, &String)| format!("{key}={}", quote(value));
    map.into_iter().flatten().map(line).collect::<Vec<_>>().join("\n")
}

/// A string as Go's `%q` quotes it, as far as labels and annotations go.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The value of a container's resource; an absent limit is the node's allocatable.
pub(crate) fn resource(
    container: &Container,
    selector: &ResourceFieldSelector,
    allocatable: &Amounts,
) -> Result<String, String> {
    let (list, name) = selector
        .resource
        .split_once('.')
        .ok_or_else(|| format!("unsupported container resource : {}", selector.resource))?;
    let resources = container.resources.clone().unwrap_or_default();
    let quantity = match list {
        "limits" => resources.limits.and_then(|limits| limits.get(name).cloned()),
        "requests" => resources.requests.and_then(|requests| requests.get(name).cloned()),
        _ => return Err(format!("unsupported container resource : {}", selector.resource)),
    };
    let fallback = || (list == "limits").then(|| allocatable.get(name).copied()).flatten().unwrap_or(0);
    let divisor = selector.divisor.clone().filter(|divisor| value(divisor) > 0).unwrap_or_else(|| Quantity("1".into()));
    // CPU counts in thousandths on both sides, all else in units.
    let (amount, unit) = match name {
        "cpu" => (quantity.as_ref().map_or_else(fallback, milli_value), milli_value(&divisor)),
        _ => (quantity.as_ref().map_or_else(fallback, value), value(&divisor)),
    };
    Ok((amount as u64).div_ceil(unit.max(1) as u64).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn paths() {
        let pod: Pod = from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "labels": {"a.b/c": "x", "z": "q\"\n"}},
            "spec": {"containers": [], "nodeName": "node"}
        }))
        .unwrap();
        let at = Addresses { pod: vec!["10.0.0.1".into(), "fd00::1".into()], host: vec!["1.2.3.4".into()] };
        let cases = [
            ("metadata.name", "p"),
            ("metadata.labels['a.b/c']", "x"),
            ("metadata.labels['none']", ""),
            ("metadata.labels", "a.b/c=\"x\"\nz=\"q\\\"\\n\""),
            ("spec.nodeName", "node"),
            ("status.podIP", "10.0.0.1"),
            ("status.podIPs", "10.0.0.1,fd00::1"),
        ];
        for (path, want) in cases {
            assert_eq!(field(&pod, path, &at).as_deref(), Ok(want), "{path}");
        }
        assert!(field(&pod, "spec.foo", &at).is_err());
    }

    #[test]
    fn resources() {
        let container: Container =
            from_value(json!({"name": "c", "resources": {"limits": {"cpu": "250m"}, "requests": {"memory": "64Mi"}}}))
                .unwrap();
        let allocatable = Amounts::from([("memory".to_owned(), 1 << 30)]);
        let get = |resource: &str, divisor: &str| {
            let selector: ResourceFieldSelector =
                from_value(json!({"resource": resource, "divisor": divisor})).unwrap();
            super::resource(&container, &selector, &allocatable).unwrap()
        };
        assert_eq!(get("limits.cpu", "1"), "1");
        assert_eq!(get("limits.cpu", "1m"), "250");
        assert_eq!(get("requests.memory", "1Mi"), "64");
        assert_eq!(get("limits.memory", "1Mi"), "1024");
        assert_eq!(get("requests.cpu", "0"), "0");
    }
}
