//! Whether an aggregated API server can be asked: the `Available` condition of its APIService. Pure.

use apiserver::meta;
use serde_json::Value;

/// What the condition says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) available: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Condition {
    /// Of what this server answers itself.
    pub(super) fn local() -> Condition {
        let message = "Local APIServices are always available".to_owned();
        Condition { available: true, reason: "Local", message }
    }

    /// Of a server that answered.
    pub(super) fn passed() -> Condition {
        Condition { available: true, reason: "Passed", message: "all checks passed".to_owned() }
    }

    /// Of a server that gave no answer, or a bad one.
    pub(super) fn failed_discovery(why: String) -> Condition {
        Condition { available: false, reason: "FailedDiscoveryCheck", message: why }
    }

    /// The object with this condition in its status.
    pub(super) fn set_on(&self, api_service: &mut Value, now: &str) {
        let status = if self.available { "True" } else { "False" };
        crate::conditions::set(&mut api_service["status"], "Available", status, self.reason, &self.message, now);
    }
}

/// The service that an APIService names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) port: u16,
}

impl Reference {
    /// `None` for what this server answers itself.
    pub(super) fn of(api_service: &Value) -> Option<Reference> {
        let service = api_service["spec"]["service"].as_object()?;
        let text = |name: &str| service.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let port = service.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
        Some(Reference { namespace: text("namespace"), name: text("name"), port: port.unwrap_or(443) })
    }
}

/// Why nobody needs to be asked; `None` if the server has to be. `slices` are the service's.
pub(super) fn missing(of: &Reference, service: Option<&Value>, slices: &[&Value]) -> Option<Condition> {
    let (namespace, name) = (&of.namespace, &of.name);
    let not = |reason, message| Some(Condition { available: false, reason, message });
    let Some(service) = service else {
        return not("ServiceNotFound", format!("service/{name} in {namespace:?} is not present"));
    };
    if service["spec"]["type"] != "ClusterIP" {
        return None;
    }
    let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let Some(port) = ports.find(|port| port["port"] == of.port) else {
        let message = format!("service/{name} in {namespace:?} is not listening on port {}", of.port);
        return not("ServicePortError", message);
    };
    if slices.is_empty() {
        return not("EndpointsNotFound", format!("cannot find endpointslices for service/{name} in {namespace:?}"));
    }
    let port_name = port["name"].as_str().unwrap_or_default();
    if slices.iter().any(|slice| has_ready_address(slice, port_name)) {
        return None;
    }
    let message =
        format!("endpointslices for service/{name} in {namespace:?} have no addresses with port name {port_name:?}");
    not("MissingEndpoints", message)
}

fn has_ready_address(slice: &Value, port_name: &str) -> bool {
    let list = |name: &str| slice[name].as_array().into_iter().flatten();
    list("endpoints").any(|endpoint| endpoint["conditions"]["ready"] != false)
        && list("ports").any(|port| port["name"].as_str().unwrap_or_default() == port_name && port["port"].is_u64())
}

/// Whether a slice is one of the service's.
pub(super) fn is_slice_of(slice: &Value, service: &str) -> bool {
    let labels = meta::get(slice, "labels");
    labels.is_some_and(|labels| labels["kubernetes.io/service-name"] == service)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let of = Reference { namespace: "n".into(), name: "s".into(), port: 443 };
        let service =
            |kind: &str, port: u16| json!({"spec": {"type": kind, "ports": [{"name": "https", "port": port}]}});
        let slice = |ready: Value, port: &str| {
            json!({
                "metadata": {"labels": {"kubernetes.io/service-name": "s"}},
                "ports": [{"name": port, "port": 8443}], "endpoints": [{"conditions": {"ready": ready}}],
            })
        };
        let (good, other) = (slice(json!(true), "https"), slice(json!(true), "http"));
        let (unknown, down) = (slice(Value::Null, "https"), slice(json!(false), "https"));
        for (service, slices, expected) in [
            (None, vec![], Some(("ServiceNotFound", "service/s in \"n\" is not present"))),
            (
                Some(service("ClusterIP", 80)),
                vec![],
                Some(("ServicePortError", "service/s in \"n\" is not listening on port 443")),
            ),
            (
                Some(service("ClusterIP", 443)),
                vec![],
                Some(("EndpointsNotFound", "cannot find endpointslices for service/s in \"n\"")),
            ),
            (
                Some(service("ClusterIP", 443)),
                vec![&other, &down],
                Some((
                    "MissingEndpoints",
                    "endpointslices for service/s in \"n\" have no addresses with port name \"https\"",
                )),
            ),
            (Some(service("ClusterIP", 443)), vec![&down, &good], None),
            (Some(service("ClusterIP", 443)), vec![&unknown], None),
            (Some(service("ExternalName", 80)), vec![], None),
        ] {
            let found = missing(&of, service.as_ref(), &slices);
            assert_eq!(found.as_ref().map(|c| (c.reason, c.message.as_str())), expected);
        }
        assert!(is_slice_of(&good, "s") && !is_slice_of(&good, "t"));
    }

    #[test]
    fn conditions_keep_the_time_of_their_last_change() {
        let mut object = json!({"spec": {"service": {"namespace": "n", "name": "s"}}});
        assert_eq!(Reference::of(&object).expect("a service").port, 443);
        Condition::passed().set_on(&mut object, "t1");
        Condition::local().set_on(&mut object, "t2");
        let condition = &object["status"]["conditions"][0];
        assert_eq!((&condition["reason"], &condition["lastTransitionTime"]), (&json!("Local"), &json!("t1")));
        Condition::failed_discovery("no".into()).set_on(&mut object, "t3");
        let conditions = json!([{"type": "Available", "status": "False", "lastTransitionTime": "t3",
            "reason": "FailedDiscoveryCheck", "message": "no"}]);
        assert_eq!(object["status"]["conditions"], conditions);
    }
}
