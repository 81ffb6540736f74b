//! A container's environment.

use super::expand::expand;
use super::fields::{self, Addresses};
use crate::pod::PodExt;
use api_types::k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, EnvVarSource, Pod, Secret};
use component_helpers::resources::Amounts;
use std::collections::{BTreeMap, BTreeSet};

/// Objects that an environment is made from; none where the object does not exist.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// ConfigMaps of the pod's namespace.
    pub config_maps: BTreeMap<String, Option<ConfigMap>>,
    /// Secrets of the pod's namespace.
    pub secrets: BTreeMap<String, Option<Secret>>,
}

/// What else an environment is made from.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// Fetched objects.
    pub sources: &'a Sources,
    /// Variables of the services.
    pub services: &'a BTreeMap<String, String>,
    /// Pod and node addresses.
    pub addresses: &'a Addresses,
    /// The node's allocatable, the value of absent limits.
    pub allocatable: &'a Amounts,
}

/// Names of the ConfigMaps and Secrets that the container's environment needs.
pub(crate) fn references(container: &Container) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut maps, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    for source in container.env_from.iter().flatten() {
        maps.extend(source.config_map_ref.as_ref().map(|r| r.name.clone()));
        secrets.extend(source.secret_ref.as_ref().map(|r| r.name.clone()));
    }
    for source in container.env.iter().flatten().filter_map(|env| env.value_from.as_ref()) {
        maps.extend(source.config_map_key_ref.as_ref().map(|r| r.name.clone()));
        secrets.extend(source.secret_key_ref.as_ref().map(|r| r.name.clone()));
    }
    (maps, secrets)
}

/// The container's environment; an error is upstream's text for CreateContainerConfigError.
pub(crate) fn environment(
    pod: &Pod,
    container: &Container,
    context: &Context<'_>,
) -> Result<BTreeMap<String, String>, String> {
    let mut env = from_whole_objects(pod, container, context.sources)?;
    let mut services = context.services.clone();
    for var in container.env.iter().flatten() {
        services.remove(&var.name);
        if let Some(value) = value_of(pod, container, var, &env, &services, context)? {
            env.insert(var.name.clone(), value);
        }
    }
    for (name, value) in services {
        env.entry(name).or_insert(value);
    }
    Ok(env)
}

/// `envFrom`.
fn from_whole_objects(pod: &Pod, container: &Container, sources: &Sources) -> Result<BTreeMap<String, String>, String> {
    let mut env = BTreeMap::new();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(wanted) = &source.config_map_ref {
            match sources.config_maps.get(&wanted.name).and_then(Option::as_ref) {
                Some(map) => env.extend(map.data.iter().flatten().map(|(k, v)| (format!("{prefix}{k}"), v.clone()))),
                None if wanted.optional == Some(true) => {}
                None => return Err(missing("configmap", pod.ns(), &wanted.name)),
            }
        }
        if let Some(wanted) = &source.secret_ref {
            match sources.secrets.get(&wanted.name).and_then(Option::as_ref) {
                Some(secret) => {
                    env.extend(secret.data.iter().flatten().map(|(k, v)| (format!("{prefix}{k}"), text(&v.0))))
                }
                None if wanted.optional == Some(true) => {}
                None => return Err(missing("secret", pod.ns(), &wanted.name)),
            }
        }
    }
    Ok(env)
}

/// What the API server says of an absent object; that it is quoted here is upstream's behaviour.
pub(crate) fn missing(kind: &str, _namespace: &str, name: &str) -> String {
    format!("{kind} {name:?} not found")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// One variable's value; none for an absent optional reference.
fn value_of(
    pod: &Pod,
    container: &Container,
    var: &EnvVar,
    env: &BTreeMap<String, String>,
    services: &BTreeMap<String, String>,
    context: &Context<'_>,
) -> Result<Option<String>, String> {
    match (&var.value, &var.value_from) {
        (Some(value), _) if !value.is_empty() => {
            let lookup = |name: &str| env.get(name).or_else(|| services.get(name)).cloned();
            Ok(Some(expand(value, &lookup)))
        }
        (_, Some(source)) => from_source(pod, container, source, context),
        _ => Ok(Some(String::new())),
    }
}

fn from_source(
    pod: &Pod,
    container: &Container,
    source: &EnvVarSource,
    context: &Context<'_>,
) -> Result<Option<String>, String> {
    if let Some(wanted) = &source.field_ref {
        return fields::field(pod, &wanted.field_path, context.addresses).map(Some);
    }
    if let Some(wanted) = &source.resource_field_ref {
        let other = wanted.container_name.as_deref().filter(|name| !name.is_empty()).map(|name| pod.container(name));
        let of = match other {
            Some(found) => {
                found
                    .ok_or_else(|| format!("container {} not found", wanted.container_name.as_deref().unwrap_or("")))?
                    .1
            }
            None => container.clone(),
        };
        return fields::resource(&of, wanted, context.allocatable).map(Some);
    }
    if let Some(wanted) = &source.config_map_key_ref {
        let optional = wanted.optional == Some(true);
        let Some(map) = context.sources.config_maps.get(&wanted.name).and_then(Option::as_ref) else {
            return absent(optional, || missing("configmap", pod.ns(), &wanted.name));
        };
        let value = map.data.as_ref().and_then(|data| data.get(&wanted.key)).cloned();
        return value.map_or_else(
            || {
                absent(optional, || {
                    format!("couldn't find key {} in ConfigMap {}/{}", wanted.key, pod.ns(), wanted.name)
                })
            },
            |value| Ok(Some(value)),
        );
    }
    if let Some(wanted) = &source.secret_key_ref {
        let optional = wanted.optional == Some(true);
        let Some(secret) = context.sources.secrets.get(&wanted.name).and_then(Option::as_ref) else {
            return absent(optional, || missing("secret", pod.ns(), &wanted.name));
        };
        let value = secret.data.as_ref().and_then(|data| data.get(&wanted.key)).map(|value| text(&value.0));
        return value.map_or_else(
            || absent(optional, || format!("couldn't find key {} in Secret {}/{}", wanted.key, pod.ns(), wanted.name)),
            |value| Ok(Some(value)),
        );
    }
    Err("this source of an environment variable is not supported by this kubelet".into())
}

fn absent(optional: bool, error: impl FnOnce() -> String) -> Result<Option<String>, String> {
    if optional { Ok(None) } else { Err(error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    fn build(container: serde_json::Value) -> Result<BTreeMap<String, String>, String> {
        let pod: Pod =
            from_value(json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": []}})).unwrap();
        let container: Container = from_value(container).unwrap();
        let map: ConfigMap = from_value(json!({"data": {"a": "1", "b": "2"}})).unwrap();
        let secret: Secret = from_value(json!({"data": {"k": "c2VjcmV0"}})).unwrap();
        let sources = Sources {
            config_maps: BTreeMap::from([("m".into(), Some(map)), ("gone".into(), None)]),
            secrets: BTreeMap::from([("s".into(), Some(secret))]),
        };
        let services = BTreeMap::from([("SVC".to_owned(), "x".to_owned())]);
        let context = Context {
            sources: &sources,
            services: &services,
            addresses: &Addresses::default(),
            allocatable: &Amounts::new(),
        };
        environment(&pod, &container, &context)
    }

    #[test]
    fn order_and_expansion() {
        let env = build(json!({"name": "c",
            "envFrom": [{"configMapRef": {"name": "m"}, "prefix": "P_"}, {"secretRef": {"name": "s"}}],
            "env": [{"name": "P_a", "value": "own"}, {"name": "X", "value": "$(P_a)-$(SVC)-$(k)-$(later)"}, {"name": "later", "value": "z"},
                    {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "O", "valueFrom": {"configMapKeyRef": {"name": "gone", "key": "k", "optional": true}}}]}))
        .unwrap();
        assert_eq!(env["P_a"], "own");
        assert_eq!(env["P_b"], "2");
        assert_eq!(env["X"], "own-x-secret-$(later)");
        assert_eq!(env["N"], "p");
        assert_eq!(env["SVC"], "x");
        assert!(!env.contains_key("O"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let of =
            |env: serde_json::Value| build(json!({"name": "c", "env": [{"name": "A", "valueFrom": env}]})).unwrap_err();
        assert_eq!(of(json!({"configMapKeyRef": {"name": "gone", "key": "k"}})), "configmap \"gone\" not found");
        assert_eq!(of(json!({"configMapKeyRef": {"name": "m", "key": "k"}})), "couldn't find key k in ConfigMap n/m");
        assert_eq!(of(json!({"secretKeyRef": {"name": "s", "key": "q"}})), "couldn't find key q in Secret n/s");
    }
}
