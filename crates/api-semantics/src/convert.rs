//! Conversion between the versions in which a kind is served.
//!
//! Most versions differ in nothing but their name. The exceptions: horizontal pod autoscalers (v1 keeps what it cannot
//! say in annotations), events (core and `events.k8s.io` name the same fields differently) and device requests and
//! devices of `resource.k8s.io/v1beta1`.

use serde_json::{Map, Value};

mod autoscaler;
mod definitions;
mod devices;
mod events;

/// Rewrites `object` from one group and version to another of the same kind; sets `apiVersion`.
pub fn convert(kind: &str, from: (&str, &str), to: (&str, &str), mut object: Value) -> Value {
    match (kind, from, to) {
        (_, f, t) if f == t => {}
        ("HorizontalPodAutoscaler", (_, "v1"), (_, "v2")) => autoscaler::to_v2(&mut object),
        ("HorizontalPodAutoscaler", (_, "v2"), (_, "v1")) => autoscaler::to_v1(&mut object),
        ("CustomResourceDefinition", _, (_, "v1beta1")) => definitions::to_v1beta1(&mut object),
        ("CustomResourceDefinition", _, (_, "v1")) => definitions::to_v1(&mut object),
        ("Event", ("", _), ("events.k8s.io", _)) => events::to_new(&mut object),
        ("Event", ("events.k8s.io", _), ("", _)) => events::to_core(&mut object),
        ("ResourceClaim", (_, f), (_, t)) => devices::claim(&mut object["spec"], f, t),
        ("ResourceClaimTemplate", (_, f), (_, t)) => devices::claim(&mut object["spec"]["spec"], f, t),
        ("ResourceSlice", (_, f), (_, t)) => devices::slice(&mut object["spec"], f, t),
        _ => {}
    }
    if let Some(map) = object.as_object_mut() {
        let (group, version) = to;
        let text = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        map.insert("apiVersion".to_owned(), Value::String(text));
    }
    object
}

/// Gives fields other names; what is absent or null stays away.
fn rename(map: &mut Map<String, Value>, names: &[(&str, &str)]) {
    for (old, new) in names {
        if let Some(value) = map.remove(*old)
            && !value.is_null()
        {
            map.insert((*new).to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::convert;

    #[test]
    fn autoscalers_there_and_back() {
        let v2 = json!({
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "x"},
            "spec": {
                "behavior": {"scaleUp": {"selectPolicy": "Max"}},
                "maxReplicas": 3,
                "metrics": [
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}},
                    {"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "1k"}}},
                ],
            },
            "status": {"currentMetrics": null, "desiredReplicas": 0},
        });
        let (old, new) = (("autoscaling", "v1"), ("autoscaling", "v2"));
        let v1 = convert("HorizontalPodAutoscaler", new, old, v2.clone());
        assert_eq!(v1["spec"]["targetCPUUtilizationPercentage"], 60);
        assert_eq!(v1["apiVersion"], "autoscaling/v1");
        assert_eq!(convert("HorizontalPodAutoscaler", old, new, v1), v2);
    }

    #[test]
    fn devices_there_and_back() {
        let v1 = json!({
            "apiVersion": "resource.k8s.io/v1",
            "spec": {"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "c", "count": 1}}]}},
        });
        let (old, new) = (("resource.k8s.io", "v1beta1"), ("resource.k8s.io", "v1"));
        let flat = convert("ResourceClaim", new, old, v1.clone());
        assert_eq!(flat["spec"]["devices"]["requests"][0]["deviceClassName"], "c");
        assert_eq!(convert("ResourceClaim", old, new, flat), v1);
    }

    #[test]
    fn events_there_and_back() {
        let core = json!({"apiVersion": "v1", "involvedObject": {"name": "p"}, "message": "m", "count": 2});
        let new = convert("Event", ("", "v1"), ("events.k8s.io", "v1"), core.clone());
        assert_eq!(new["note"], "m");
        assert_eq!(convert("Event", ("events.k8s.io", "v1"), ("", "v1"), new), core);
    }
}
