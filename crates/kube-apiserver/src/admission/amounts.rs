//! Named quantities, and what pods ask for in them.

use std::collections::BTreeMap;

use api_types::Quantity;
use serde_json::Value;

/// By resource name.
pub(super) type Amounts = BTreeMap<String, Quantity>;

/// Reads a JSON object of quantities; what is none is left out (validation refuses it).
pub(super) fn read(value: Option<&Value>) -> Amounts {
    let entries = value.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(name, text)| Some((name.clone(), text.as_str()?.parse().ok()?))).collect()
}

/// `requests` or `limits` of a container.
pub(super) fn of_container(container: &Value, field: &str) -> Amounts {
    read(container.pointer(&format!("/resources/{field}")))
}

pub(super) fn containers<'a>(pod: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    pod.pointer(&format!("/spec/{list}")).and_then(Value::as_array).into_iter().flatten()
}

pub(super) fn add(total: &mut Amounts, more: Amounts) {
    for (name, amount) in more {
        *total.entry(name).or_default() += amount;
    }
}

/// What a pod takes: its containers and sidecars together, or what the greatest init container takes beside the sidecars that
/// started before it; and the overhead of its runtime.
pub(super) fn of_pod(pod: &Value, field: &str) -> Amounts {
    let mut running = Amounts::new();
    let mut peak = Amounts::new();
    for container in containers(pod, "initContainers") {
        let own = of_container(container, field);
        if container.get("restartPolicy").and_then(Value::as_str) == Some("Always") {
            add(&mut running, own);
        } else {
            let mut moment = running.clone();
            add(&mut moment, own);
            raise(&mut peak, moment);
        }
    }
    for container in containers(pod, "containers") {
        add(&mut running, of_container(container, field));
    }
    raise(&mut running, peak);
    let overhead = read(pod.pointer("/spec/overhead"));
    let counted = overhead.into_iter().filter(|(name, _)| field == "requests" || running.contains_key(name));
    let counted: Amounts = counted.collect();
    add(&mut running, counted);
    running
}

fn raise(to: &mut Amounts, least: Amounts) {
    for (name, amount) in least {
        let slot = to.entry(name).or_default();
        if amount > *slot {
            *slot = amount;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn init_containers_count_by_their_peak_and_sidecars_always() {
        let cpu = |c: &str| json!({ "requests": { "cpu": c } });
        let pod = json!({ "spec": {
            "overhead": { "cpu": "1m" },
            "initContainers": [
                { "resources": cpu("100m"), "restartPolicy": "Always" },
                { "resources": cpu("900m") },
            ],
            "containers": [{ "resources": cpu("200m") }, { "resources": cpu("300m") }],
        } });
        assert_eq!(of_pod(&pod, "requests")["cpu"].to_string(), "1001m");
    }
}
