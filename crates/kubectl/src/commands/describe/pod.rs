//! Pods, and the pod templates of what makes pods.

use serde_json::Value;

use super::{Page, controller, volumes};
use crate::duration::rfc1123;
use crate::output::{plain, tabs};

/// Describes a pod.
pub(super) fn pod(page: &mut Page, object: &Value) -> bool {
    let (metadata, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    page.field(0, "Name", plain(&metadata["name"]));
    page.field(0, "Namespace", plain(&metadata["namespace"]));
    page.field_if(0, "Priority", &spec["priority"]);
    page.field_if(0, "Priority Class Name", &spec["priorityClassName"]);
    page.field_if(0, "Runtime Class Name", &spec["runtimeClassName"]);
    page.field_if(0, "Service Account", &spec["serviceAccountName"]);
    match spec["nodeName"].as_str().filter(|n| !n.is_empty()) {
        Some(node) => page.field(0, "Node", format!("{node}/{}", plain(&status["hostIP"]))),
        None => page.field(0, "Node", "<none>"),
    }
    if let Some(start) = status["startTime"].as_str() {
        page.field(0, "Start Time", rfc1123(start));
    }
    page.labels(0, "Labels", &metadata["labels"]);
    page.annotations(0, &metadata["annotations"]);
    state(page, object);
    addresses(page, status);
    if let Some(owner) = controller(object) {
        page.field(0, "Controlled By", owner);
    }
    page.field_if(0, "NominatedNodeName", &status["nominatedNodeName"]);
    for (label, containers, statuses) in [
        ("Init Containers", &spec["initContainers"], &status["initContainerStatuses"]),
        ("Containers", &spec["containers"], &status["containerStatuses"]),
        ("Ephemeral Containers", &spec["ephemeralContainers"], &status["ephemeralContainerStatuses"]),
    ] {
        if containers.as_array().is_some_and(|c| !c.is_empty()) {
            page.line(0, &format!("{label}:"));
            all_containers(page, "", containers, statuses, spec);
        }
    }
    if let Some(gates) = spec["readinessGates"].as_array().filter(|g| !g.is_empty()) {
        page.line(0, "Readiness Gates:");
        page.line(1, "Type\tStatus");
        for gate in gates {
            let found =
                status["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == gate["conditionType"]);
            page.line(
                1,
                &format!(
                    "{} \t{} ",
                    plain(&gate["conditionType"]),
                    found.map_or("<none>".to_owned(), |c| plain(&c["status"]))
                ),
            );
        }
    }
    if let Some(conditions) = status["conditions"].as_array().filter(|c| !c.is_empty()) {
        page.line(0, "Conditions:");
        page.line(1, "Type\tStatus");
        for condition in conditions {
            page.line(1, &format!("{} \t{} ", plain(&condition["type"]), plain(&condition["status"])));
        }
    }
    volumes::volumes(page, 0, &spec["volumes"]);
    page.field_if(0, "QoS Class", &status["qosClass"]);
    page.labels(0, "Node-Selectors", &spec["nodeSelector"]);
    page.fields(0, "Tolerations", &tolerations(&spec["tolerations"]));
    true
}

fn state(page: &mut Page, object: &Value) {
    let (metadata, status) = (&object["metadata"], &object["status"]);
    match metadata["deletionTimestamp"].as_str() {
        Some(time) if !matches!(status["phase"].as_str(), Some("Failed" | "Succeeded")) => {
            let late = crate::duration::since(time, crate::duration::now());
            page.field(0, "Status", format!("Terminating (lasts {late})"));
            page.field(0, "Termination Grace Period", format!("{}s", plain(&metadata["deletionGracePeriodSeconds"])));
        }
        _ => page.field(0, "Status", plain(&status["phase"])),
    }
    page.field_if(0, "Reason", &status["reason"]);
    page.field_if(0, "Message", &status["message"]);
}

fn addresses(page: &mut Page, status: &Value) {
    page.field(0, "IP", plain(&status["podIP"]));
    match status["podIPs"].as_array().filter(|ips| !ips.is_empty()) {
        None => page.field(0, "IPs", "<none>"),
        Some(ips) => {
            page.line(0, "IPs:");
            for ip in ips {
                page.field(1, "IP", plain(&ip["ip"]));
            }
        }
    }
}

/// Tolerations as `key=value:Effect op=Exists for 300s`.
fn tolerations(list: &Value) -> Vec<String> {
    list.as_array()
        .into_iter()
        .flatten()
        .map(|t| {
            let mut text = plain(&t["key"]);
            let value = plain(&t["value"]);
            if !value.is_empty() {
                text.push_str(&format!("={value}"));
            }
            let effect = plain(&t["effect"]);
            if !effect.is_empty() {
                text.push_str(&format!(":{effect}"));
            }
            if t["operator"] == "Exists" && value.is_empty() {
                text.push_str(if plain(&t["key"]).is_empty() && effect.is_empty() {
                    "op=Exists"
                } else {
                    " op=Exists"
                });
            }
            if let Some(seconds) = t["tolerationSeconds"].as_i64() {
                text.push_str(&format!(" for {seconds}s"));
            }
            text
        })
        .collect()
}

fn all_containers(page: &mut Page, margin: &str, containers: &Value, statuses: &Value, spec: &Value) {
    for container in containers.as_array().into_iter().flatten() {
        page.line(1, &format!("{margin}{}:", plain(&container["name"])));
        let status = statuses.as_array().into_iter().flatten().find(|s| s["name"] == container["name"]);
        one_container(page, 2, container, status, spec);
    }
}

fn one_container(page: &mut Page, level: usize, container: &Value, status: Option<&Value>, spec: &Value) {
    if let Some(status) = status {
        page.field(level, "Container ID", plain(&status["containerID"]));
    }
    page.field(level, "Image", plain(&container["image"]));
    if let Some(status) = status {
        page.field(level, "Image ID", plain(&status["imageID"]));
    }
    ports(page, level, &container["ports"]);
    page.field_if(level, "SeccompProfile", &container["securityContext"]["seccompProfile"]["type"]);
    for (label, words) in [("Command", &container["command"]), ("Args", &container["args"])] {
        if let Some(words) = words.as_array().filter(|w| !w.is_empty()) {
            page.line(level, &format!("{label}:"));
            for line in words.iter().flat_map(|w| plain(w).split('\n').map(str::to_owned).collect::<Vec<_>>()) {
                page.line(level + 1, &line);
            }
        }
    }
    if let Some(status) = status {
        container_state(page, level, "State", &status["state"]);
        if status["lastState"].as_object().is_some_and(|s| !s.is_empty()) {
            container_state(page, level, "Last State", &status["lastState"]);
        }
        page.field(level, "Ready", super::yes_no(&status["ready"]));
        page.field(level, "Restart Count", plain(&status["restartCount"]));
    }
    for (label, list) in
        [("Limits", &container["resources"]["limits"]), ("Requests", &container["resources"]["requests"])]
    {
        if let Some(list) = list.as_object().filter(|l| !l.is_empty()) {
            page.line(level, &format!("{label}:"));
            for (name, quantity) in list {
                page.field(level + 1, name, plain(quantity));
            }
        }
    }
    for (label, probe) in [
        ("Liveness", &container["livenessProbe"]),
        ("Readiness", &container["readinessProbe"]),
        ("Startup", &container["startupProbe"]),
    ] {
        if probe.is_object() {
            page.field(level, label, describe_probe(probe));
        }
    }
    environment(page, level, container);
    mounts(page, level, container);
    if spec["restartPolicy"] == "Always" && container["restartPolicy"].is_string() {
        page.field(level, "Restart Policy", plain(&container["restartPolicy"]));
    }
}

fn ports(page: &mut Page, level: usize, ports: &Value) {
    let list: Vec<&Value> = ports.as_array().into_iter().flatten().collect();
    let (port, host) = if list.len() > 1 { ("Ports", "Host Ports") } else { ("Port", "Host Port") };
    if list.is_empty() {
        page.field(level, port, "<none>");
        return page.field(level, host, "<none>");
    }
    let join = |key: &str| {
        let each = list
            .iter()
            .map(|p| format!("{}/{}", p[key].as_i64().unwrap_or(0), p["protocol"].as_str().unwrap_or("TCP")));
        each.collect::<Vec<_>>().join(", ")
    };
    page.field(level, port, join("containerPort"));
    page.field(level, host, join("hostPort"));
}

fn container_state(page: &mut Page, level: usize, label: &str, state: &Value) {
    if state["running"].is_object() {
        page.field(level, label, "Running");
        return page.field(level + 1, "Started", rfc1123(state["running"]["startedAt"].as_str().unwrap_or_default()));
    }
    if state["terminated"].is_object() {
        let ended = &state["terminated"];
        page.field(level, label, "Terminated");
        page.field_if(level + 1, "Reason", &ended["reason"]);
        page.field_if(level + 1, "Message", &ended["message"]);
        page.field(level + 1, "Exit Code", ended["exitCode"].as_i64().unwrap_or(0).to_string());
        if ended["signal"].as_i64().is_some_and(|s| s > 0) {
            page.field(level + 1, "Signal", plain(&ended["signal"]));
        }
        page.field(level + 1, "Started", rfc1123(ended["startedAt"].as_str().unwrap_or_default()));
        return page.field(level + 1, "Finished", rfc1123(ended["finishedAt"].as_str().unwrap_or_default()));
    }
    page.field(level, label, "Waiting");
    page.field_if(level + 1, "Reason", &state["waiting"]["reason"]);
    page.field_if(level + 1, "Message", &state["waiting"]["message"]);
}

/// A probe as `http-get http://:80/ delay=0s timeout=1s period=10s #success=1 #failure=3`.
fn describe_probe(probe: &Value) -> String {
    let number = |key: &str, default: i64| probe[key].as_i64().unwrap_or(default);
    let attributes = format!(
        "delay={}s timeout={}s period={}s #success={} #failure={}",
        number("initialDelaySeconds", 0),
        number("timeoutSeconds", 1),
        number("periodSeconds", 10),
        number("successThreshold", 1),
        number("failureThreshold", 3)
    );
    let words = |v: &Value| v.as_array().into_iter().flatten().map(plain).collect::<Vec<_>>().join(" ");
    if probe["exec"].is_object() {
        format!("exec [{}] {attributes}", words(&probe["exec"]["command"]))
    } else if probe["httpGet"].is_object() {
        let get = &probe["httpGet"];
        let scheme = get["scheme"].as_str().unwrap_or("HTTP").to_lowercase();
        format!(
            "http-get {scheme}://{}:{}{} {attributes}",
            plain(&get["host"]),
            plain(&get["port"]),
            plain(&get["path"])
        )
    } else if probe["tcpSocket"].is_object() {
        format!("tcp-socket {}:{} {attributes}", plain(&probe["tcpSocket"]["host"]), plain(&probe["tcpSocket"]["port"]))
    } else if probe["grpc"].is_object() {
        format!("grpc <pod>:{} {} {attributes}", plain(&probe["grpc"]["port"]), plain(&probe["grpc"]["service"]))
    } else {
        format!("unknown {attributes}")
    }
}

fn environment(page: &mut Page, level: usize, container: &Value) {
    if let Some(sources) = container["envFrom"].as_array().filter(|s| !s.is_empty()) {
        page.line(level, "Environment Variables from:");
        for source in sources {
            let (kind, reference) = if source["configMapRef"].is_object() {
                ("ConfigMap", &source["configMapRef"])
            } else {
                ("Secret", &source["secretRef"])
            };
            let prefix = source["prefix"]
                .as_str()
                .filter(|p| !p.is_empty())
                .map(|p| format!(" with prefix '{p}'"))
                .unwrap_or_default();
            page.line(
                level + 1,
                &format!(
                    "{}\t{kind}{prefix}\tOptional: {}",
                    plain(&reference["name"]),
                    reference["optional"].as_bool().unwrap_or(false)
                ),
            );
        }
    }
    let Some(variables) = container["env"].as_array().filter(|v| !v.is_empty()) else {
        return page.field(level, "Environment", "<none>");
    };
    page.line(level, "Environment:");
    for variable in variables {
        let name = plain(&variable["name"]);
        let source = &variable["valueFrom"];
        if !source.is_object() {
            for (i, line) in plain(&variable["value"]).split('\n').enumerate() {
                if i == 0 { page.field(level + 1, &name, line) } else { page.line(level + 1, &format!("\t{line}")) }
            }
            continue;
        }
        let key_of = |kind: &str, what: &str| {
            let reference = &source[kind];
            format!(
                "<set to the key '{}' {what} '{}'>\tOptional: {}",
                plain(&reference["key"]),
                plain(&reference["name"]),
                reference["optional"].as_bool().unwrap_or(false)
            )
        };
        let text = if source["fieldRef"].is_object() {
            format!(
                " ({}:{})",
                source["fieldRef"]["apiVersion"].as_str().unwrap_or("v1"),
                plain(&source["fieldRef"]["fieldPath"])
            )
        } else if source["resourceFieldRef"].is_object() {
            let reference = &source["resourceFieldRef"];
            format!("{} ({})", plain(&reference["divisor"]), plain(&reference["resource"]))
        } else if source["secretKeyRef"].is_object() {
            key_of("secretKeyRef", "in secret")
        } else {
            key_of("configMapKeyRef", "of config map")
        };
        page.field(level + 1, &name, text);
    }
}

fn mounts(page: &mut Page, level: usize, container: &Value) {
    let Some(mounts) = container["volumeMounts"].as_array().filter(|m| !m.is_empty()) else {
        return page.field(level, "Mounts", "<none>");
    };
    page.line(level, "Mounts:");
    let mut sorted: Vec<&Value> = mounts.iter().collect();
    sorted.sort_by_key(|m| plain(&m["mountPath"]));
    for mount in sorted {
        let mut flags =
            vec![if mount["readOnly"].as_bool().unwrap_or(false) { "ro".to_owned() } else { "rw".to_owned() }];
        if let Some(path) = mount["subPath"].as_str().filter(|p| !p.is_empty()) {
            flags.push(format!("path={path:?}"));
        }
        page.line(
            level + 1,
            &format!("{} from {} ({})", plain(&mount["mountPath"]), plain(&mount["name"]), flags.join(",")),
        );
    }
}

/// Describes a pod template into a page.
pub(super) fn template(page: &mut Page, template: &Value) {
    let spec = &template["spec"];
    page.line(0, "Pod Template:");
    page.labels(1, "Labels", &template["metadata"]["labels"]);
    if template["metadata"]["annotations"].as_object().is_some_and(|a| !a.is_empty()) {
        page.annotations(1, &template["metadata"]["annotations"]);
    }
    page.field_if(1, "Service Account", &spec["serviceAccountName"]);
    for (label, containers) in [("Init Containers", &spec["initContainers"]), ("Containers", &spec["containers"])] {
        if containers.as_array().is_some_and(|c| !c.is_empty()) {
            page.line(1, &format!("{label}:"));
            all_containers(page, " ", containers, &Value::Null, spec);
        }
    }
    volumes::volumes(page, 1, &spec["volumes"]);
    page.field_if(1, "Priority Class Name", &spec["priorityClassName"]);
    page.labels(1, "Node-Selectors", &spec["nodeSelector"]);
    page.fields(1, "Tolerations", &tolerations(&spec["tolerations"]));
}

/// The description of a pod template alone.
pub fn pod_template(value: &Value) -> String {
    let mut page = Page::default();
    template(&mut page, value);
    tabs::elastic(&page.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_look_as_upstream_prints_them() {
        let mut page = Page::default();
        pod(
            &mut page,
            &json!({
                "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
                "spec": {"nodeName": "n1", "priority": 0, "serviceAccountName": "default", "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "env": [{"name": "A", "value": "b"}], "volumeMounts": [{"mountPath": "/x", "name": "v", "readOnly": true}],
                    "livenessProbe": {"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}}}],
                    "volumes": [{"name": "v", "emptyDir": {}}], "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]},
                "status": {"phase": "Running", "hostIP": "10.0.0.1", "podIP": "10.1.0.1", "podIPs": [{"ip": "10.1.0.1"}], "qosClass": "BestEffort",
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "containerStatuses": [{"name": "c", "containerID": "x://1", "imageID": "", "ready": true, "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}
            }),
        );
        expect_test::expect![[r#"
            Name:             web
            Namespace:        default
            Priority:         0
            Service Account:  default
            Node:             n1/10.0.0.1
            Labels:           app=web
            Annotations:      <none>
            Status:           Running
            IP:               10.1.0.1
            IPs:
              IP:  10.1.0.1
            Containers:
              c:
                Container ID:   x://1
                Image:          i
                Image ID:       
                Port:           80/TCP
                Host Port:      0/TCP
                State:          Waiting
                  Reason:       CrashLoopBackOff
                Ready:          True
                Restart Count:  2
                Liveness:       http-get http://:80/ delay=0s timeout=1s period=10s #success=1 #failure=3
                Environment:
                  A:  b
                Mounts:
                  /x from v (ro)
            Conditions:
              Type    Status
              Ready   True 
            Volumes:
              v:
                Type:        EmptyDir (a temporary directory that shares a pod's lifetime)
                Medium:      
                SizeLimit:   <unset>
            QoS Class:       BestEffort
            Node-Selectors:  <none>
            Tolerations:     k:NoExecute op=Exists for 300s
        "#]]
        .assert_eq(&page.text());
    }
}
