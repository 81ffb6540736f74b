//! Nodes, with what their pods ask for.

use std::collections::BTreeMap;

use api_types::Quantity;
use serde_json::Value;

use super::Page;
use crate::cli::context::Context;
use crate::client::Query;
use crate::duration::{now, rfc1123, since};
use crate::error::Result;
use crate::output::plain;
use crate::resource::list;

/// Describes a node.
pub(super) async fn node(cx: &Context, page: &mut Page, object: &Value) -> Result<bool> {
    let (metadata, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    let name = plain(&metadata["name"]);
    page.field(0, "Name", &name);
    page.field(0, "Roles", roles(&metadata["labels"]));
    page.labels(0, "Labels", &metadata["labels"]);
    page.annotations(0, &metadata["annotations"]);
    page.field(0, "CreationTimestamp", rfc1123(metadata["creationTimestamp"].as_str().unwrap_or_default()));
    let taints: Vec<String> = spec["taints"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|t| match t["value"].as_str().filter(|v| !v.is_empty()) {
            Some(value) => format!("{}={value}:{}", plain(&t["key"]), plain(&t["effect"])),
            None => format!("{}:{}", plain(&t["key"]), plain(&t["effect"])),
        })
        .collect();
    page.fields(0, "Taints", &taints);
    page.field(0, "Unschedulable", spec["unschedulable"].as_bool().unwrap_or(false).to_string());
    lease(cx, page, &name).await?;
    conditions(page, status);
    page.line(0, "Addresses:");
    for address in status["addresses"].as_array().into_iter().flatten() {
        page.field(1, &plain(&address["type"]), plain(&address["address"]));
    }
    for (label, key) in [("Capacity", "capacity"), ("Allocatable", "allocatable")] {
        if let Some(list) = status[key].as_object().filter(|l| !l.is_empty()) {
            page.line(0, &format!("{label}:"));
            for (resource, quantity) in list {
                page.field(1, resource, plain(quantity));
            }
        }
    }
    page.line(0, "System Info:");
    for (label, key) in [
        ("Machine ID", "machineID"),
        ("System UUID", "systemUUID"),
        ("Boot ID", "bootID"),
        ("Kernel Version", "kernelVersion"),
        ("OS Image", "osImage"),
        ("Operating System", "operatingSystem"),
        ("Architecture", "architecture"),
        ("Container Runtime Version", "containerRuntimeVersion"),
        ("Kubelet Version", "kubeletVersion"),
        ("Kube-Proxy Version", "kubeProxyVersion"),
    ] {
        page.field(1, label, plain(&status["nodeInfo"][key]));
    }
    page.field_if(0, "PodCIDR", &spec["podCIDR"]);
    let cidrs: Vec<String> = spec["podCIDRs"].as_array().into_iter().flatten().map(plain).collect();
    if !cidrs.is_empty() {
        page.field(0, "PodCIDRs", cidrs.join(","));
    }
    page.field_if(0, "ProviderID", &spec["providerID"]);
    pods(cx, page, &name, &status["allocatable"]).await?;
    Ok(true)
}

fn roles(labels: &Value) -> String {
    let mut roles: Vec<&str> = labels
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .filter(|r| !r.is_empty())
        .collect();
    roles.sort_unstable();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}

async fn lease(cx: &Context, page: &mut Page, name: &str) -> Result<()> {
    page.line(0, "Lease:");
    let Some(resource) = cx.find_resource("leases.coordination.k8s.io").await? else { return Ok(()) };
    let found = cx.client()?.get(&resource.object_path(Some("kube-node-lease"), name)).await;
    // A node need not have one, and who describes it need not be allowed to read it.
    let lease = found.unwrap_or(Value::Null);
    let holder = plain(&lease["spec"]["holderIdentity"]);
    page.field(1, "HolderIdentity", if holder.is_empty() { "<unset>" } else { &holder });
    page.field(1, "AcquireTime", lease["spec"]["acquireTime"].as_str().map_or("<unset>".to_owned(), rfc1123));
    page.field(1, "RenewTime", lease["spec"]["renewTime"].as_str().map_or("<unset>".to_owned(), rfc1123));
    Ok(())
}

fn conditions(page: &mut Page, status: &Value) {
    let Some(conditions) = status["conditions"].as_array().filter(|c| !c.is_empty()) else { return };
    page.line(0, "Conditions:");
    page.line(1, "Type\tStatus\tLastHeartbeatTime\tLastTransitionTime\tReason\tMessage");
    page.line(1, "----\t------\t-----------------\t------------------\t------\t-------");
    for c in conditions {
        let time = |key: &str| rfc1123(c[key].as_str().unwrap_or_default());
        page.line(
            1,
            &format!(
                "{} \t{} \t{} \t{} \t{} \t{}",
                plain(&c["type"]),
                plain(&c["status"]),
                time("lastHeartbeatTime"),
                time("lastTransitionTime"),
                plain(&c["reason"]),
                plain(&c["message"])
            ),
        );
    }
}

/// Sums of quantities by resource name, in thousandths.
type Sums = BTreeMap<String, i64>;

fn quantity(value: &Value) -> i64 {
    plain(value).parse::<Quantity>().map_or(0, |q| q.milli_value())
}

/// What a pod asks for: its containers together, or its largest init container if that is more.
fn pod_sums(pod: &Value, kind: &str) -> Sums {
    let of = |container: &Value| -> Sums {
        let list = container["resources"][kind].as_object().into_iter().flatten();
        list.map(|(k, v)| (k.clone(), quantity(v))).collect()
    };
    let mut sums = Sums::new();
    let mut sidecars = Sums::new();
    let each = |key: &str| pod["spec"][key].as_array().cloned().unwrap_or_default();
    for container in
        each("containers").iter().chain(each("initContainers").iter().filter(|c| c["restartPolicy"] == "Always"))
    {
        for (name, value) in of(container) {
            *sums.entry(name).or_default() += value;
        }
    }
    for container in each("initContainers") {
        let sidecar = container["restartPolicy"] == "Always";
        for (name, value) in of(&container) {
            let before = sidecars.get(&name).copied().unwrap_or(0);
            let total = sums.entry(name.clone()).or_default();
            *total = (*total).max(before + value);
            if sidecar {
                sidecars.insert(name, before + value);
            }
        }
    }
    for (name, value) in pod["spec"]["overhead"].as_object().into_iter().flatten() {
        *sums.entry(name.clone()).or_default() += quantity(value);
    }
    sums
}

/// A sum in the notation of its resource.
fn shown(resource: &str, milli: i64) -> String {
    if resource == "cpu" {
        return if milli % 1000 == 0 { (milli / 1000).to_string() } else { format!("{milli}m") };
    }
    let units = milli / 1000;
    for (suffix, size) in [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)] {
        if units != 0 && units % size == 0 {
            return format!("{}{suffix}", units / size);
        }
    }
    units.to_string()
}

fn percent(part: i64, whole: i64) -> i64 {
    if whole == 0 { 0 } else { part.saturating_mul(100) / whole }
}

async fn pods(cx: &Context, page: &mut Page, node: &str, allocatable: &Value) -> Result<()> {
    let resource = cx.resource("pods").await?;
    let query = Query::default()
        .with("fieldSelector", format!("spec.nodeName={node},status.phase!=Succeeded,status.phase!=Failed"));
    let all = list(cx, &resource, None, &query, 500).await?;
    let pods: Vec<&Value> = all["items"].as_array().into_iter().flatten().collect();
    page.line(0, &format!("Non-terminated Pods:\t({} in total)", pods.len()));
    page.line(1, "Namespace\tName\t\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge");
    page.line(1, "---------\t----\t\t------------\t----------\t---------------\t-------------\t---");
    let (cpu, memory) = (quantity(&allocatable["cpu"]), quantity(&allocatable["memory"]));
    let (mut requests, mut limits) = (Sums::new(), Sums::new());
    for pod in pods {
        let (asked, limited) = (pod_sums(pod, "requests"), pod_sums(pod, "limits"));
        let part = |sums: &Sums, name: &str, whole: i64| {
            let value = sums.get(name).copied().unwrap_or(0);
            format!("{} ({}%)", shown(name, value), percent(value, whole))
        };
        page.line(
            1,
            &format!(
                "{}\t{}\t\t{}\t{}\t{}\t{}\t{}",
                plain(&pod["metadata"]["namespace"]),
                plain(&pod["metadata"]["name"]),
                part(&asked, "cpu", cpu),
                part(&limited, "cpu", cpu),
                part(&asked, "memory", memory),
                part(&limited, "memory", memory),
                since(pod["metadata"]["creationTimestamp"].as_str().unwrap_or_default(), now())
            ),
        );
        for (sums, of_pod) in [(&mut requests, asked), (&mut limits, limited)] {
            for (name, value) in of_pod {
                *sums.entry(name).or_default() += value;
            }
        }
    }
    page.line(0, "Allocated resources:\n  (Total limits may be over 100 percent, i.e., overcommitted.)");
    page.line(1, "Resource\tRequests\tLimits");
    page.line(1, "--------\t--------\t------");
    let names: Vec<&str> = ["cpu", "memory", "ephemeral-storage"]
        .into_iter()
        .chain(
            allocatable
                .as_object()
                .into_iter()
                .flatten()
                .map(|(k, _)| k.as_str())
                .filter(|k| k.contains('/') || k.starts_with("hugepages-")),
        )
        .collect();
    for name in names {
        let whole = quantity(&allocatable[name]);
        let of = |sums: &Sums| sums.get(name).copied().unwrap_or(0);
        let (asked, limited) = (of(&requests), of(&limits));
        if name.contains('/') {
            page.line(1, &format!("{name}\t{}\t{}", shown(name, asked), shown(name, limited)));
        } else {
            page.line(
                1,
                &format!(
                    "{name}\t{} ({}%)\t{} ({}%)",
                    shown(name, asked),
                    percent(asked, whole),
                    shown(name, limited),
                    percent(limited, whole)
                ),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_ask_for_their_sum_or_their_largest_init_container() {
        let c = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        let pod = json!({"spec": {"containers": [c("100m"), c("1")], "initContainers": [c("2")]}});
        assert_eq!(pod_sums(&pod, "requests")["cpu"], 2000);
        let pod = json!({"spec": {"containers": [c("100m"), c("1")], "initContainers": [c("500m")], "overhead": {"cpu": "50m"}}});
        assert_eq!(pod_sums(&pod, "requests")["cpu"], 1150);
    }

    #[test]
    fn sums_are_shown_in_their_notation() {
        for (resource, milli, want) in [
            ("cpu", 1150, "1150m"),
            ("cpu", 2000, "2"),
            ("memory", 73_400_320_000, "70Mi"),
            ("memory", 0, "0"),
            ("memory", 1_500_000, "1500"),
        ] {
            assert_eq!(shown(resource, milli), want);
        }
        assert_eq!(roles(&json!({"node-role.kubernetes.io/control-plane": "", "x": "y"})), "control-plane");
    }
}
