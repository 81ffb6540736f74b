//! The checks of the pod security standards, in upstream's order and words (KEP-2579). Pure.

use serde_json::Value;

use super::Level;

/// One check: what is wrong with the pod, as `reason (detail)`.
type Check = fn(&Pod<'_>) -> Option<String>;

/// (level from which it holds, whether a stricter check replaces it from `restricted` on, check).
const CHECKS: [(Level, bool, Check); 17] = [
    (Level::Restricted, false, privilege_escalation),
    (Level::Baseline, false, app_armor),
    (Level::Baseline, true, capabilities_baseline),
    (Level::Restricted, false, capabilities_restricted),
    (Level::Baseline, false, host_namespaces),
    (Level::Baseline, true, host_path_volumes),
    (Level::Baseline, false, host_ports),
    (Level::Baseline, false, privileged),
    (Level::Baseline, false, proc_mount),
    (Level::Restricted, false, volume_types),
    (Level::Restricted, false, run_as_non_root),
    (Level::Restricted, false, run_as_user),
    (Level::Baseline, false, se_linux),
    (Level::Baseline, true, seccomp_baseline),
    (Level::Restricted, false, seccomp_restricted),
    (Level::Baseline, false, sysctls),
    (Level::Baseline, false, host_process),
];

/// All that keeps the pod (or pod template) from `level`.
pub(super) fn violations(level: Level, pod: &Value) -> Vec<String> {
    if level == Level::Privileged {
        return Vec::new();
    }
    let pod = Pod { spec: pod.get("spec").unwrap_or(&Value::Null), whole: pod };
    let applies =
        |(from, replaced, _): &&(Level, bool, Check)| *from <= level && !(*replaced && level == Level::Restricted);
    CHECKS.iter().filter(applies).filter_map(|(_, _, check)| check(&pod)).collect()
}

struct Pod<'a> {
    whole: &'a Value,
    spec: &'a Value,
}

fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    value.pointer(path).unwrap_or(&Value::Null)
}

fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    at(value, path).as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    at(value, path).as_str().unwrap_or_default()
}

fn quoted(items: &[&str]) -> String {
    items.iter().map(|i| format!("\"{i}\"")).collect::<Vec<_>>().join(", ")
}

/// `container "a"` or `containers "a", "b"`.
fn named(noun: &str, items: &[&str]) -> String {
    let plural = if items.len() == 1 { "" } else { "s" };
    format!("{noun}{plural} {}", quoted(items))
}

impl<'a> Pod<'a> {
    fn containers(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        let spec = self.spec;
        ["/initContainers", "/containers", "/ephemeralContainers"].into_iter().flat_map(move |path| list(spec, path))
    }

    /// The names of the containers that `bad` holds of.
    fn where_container(&self, bad: impl Fn(&Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(|c| bad(c)).map(|c| text(c, "/name")).collect()
    }

    fn is_windows(&self) -> bool {
        text(self.spec, "/os/name") == "windows"
    }
}

fn privilege_escalation(pod: &Pod<'_>) -> Option<String> {
    if pod.is_windows() {
        return None;
    }
    let bad = pod.where_container(|c| at(c, "/securityContext/allowPrivilegeEscalation") != &Value::Bool(false));
    (!bad.is_empty()).then(|| {
        format!(
            "allowPrivilegeEscalation != false ({} must set securityContext.allowPrivilegeEscalation=false)",
            named("container", &bad)
        )
    })
}

fn app_armor(pod: &Pod<'_>) -> Option<String> {
    let forbidden = |v: &Value| text(v, "/securityContext/appArmorProfile/type") == "Unconfined";
    let bad = pod.where_container(forbidden);
    let mut details = Vec::new();
    if forbidden(pod.spec) {
        details.push("pod must not set AppArmor profile type to \"Unconfined\"".to_owned());
    }
    if !bad.is_empty() {
        details.push(format!("{} must not set AppArmor profile type to \"Unconfined\"", named("container", &bad)));
    }
    let annotations = at(pod.whole, "/metadata/annotations").as_object().into_iter().flatten();
    for (key, value) in annotations.filter(|(k, _)| k.starts_with("container.apparmor.security.beta.kubernetes.io/")) {
        let profile = value.as_str().unwrap_or_default();
        if !(profile.is_empty() || profile == "runtime/default" || profile.starts_with("localhost/")) {
            details.push(format!("annotation \"{key}\": \"{profile}\""));
        }
    }
    (!details.is_empty()).then(|| format!("forbidden AppArmor profile ({})", details.join(", ")))
}

const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The containers that add others than `allowed`, and what they add.
fn added<'a>(pod: &Pod<'a>, allowed: &[&str]) -> (Vec<&'a str>, Vec<&'a str>) {
    let (mut containers, mut found) = (Vec::new(), Vec::new());
    for container in pod.containers() {
        let add = list(container, "/securityContext/capabilities/add").iter().filter_map(Value::as_str);
        let bad: Vec<&str> = add.filter(|c| !allowed.contains(c)).collect();
        if !bad.is_empty() {
            containers.push(text(container, "/name"));
            found.extend(bad);
        }
    }
    found.sort_unstable();
    found.dedup();
    (containers, found)
}

fn capabilities_baseline(pod: &Pod<'_>) -> Option<String> {
    let (containers, bad) = added(pod, &DEFAULT_CAPABILITIES);
    (!bad.is_empty()).then(|| {
        let who = named("container", &containers);
        format!(
            "non-default capabilities ({who} must not include {} in securityContext.capabilities.add)",
            quoted(&bad)
        )
    })
}

fn capabilities_restricted(pod: &Pod<'_>) -> Option<String> {
    if pod.is_windows() {
        return None;
    }
    let mut details = Vec::new();
    let missing = pod.where_container(|c| {
        let drop = list(c, "/securityContext/capabilities/drop");
        !drop.iter().any(|d| d.as_str() == Some("ALL"))
    });
    if !missing.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", named("container", &missing)));
    }
    let (containers, bad) = added(pod, &["NET_BIND_SERVICE"]);
    if !bad.is_empty() {
        let who = named("container", &containers);
        details.push(format!("{who} must not include {} in securityContext.capabilities.add", quoted(&bad)));
    }
    (!details.is_empty()).then(|| format!("unrestricted capabilities ({})", details.join("; ")))
}

fn host_namespaces(pod: &Pod<'_>) -> Option<String> {
    let set = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|f| pod.spec.get(f) == Some(&Value::Bool(true)));
    let set: Vec<String> = set.map(|f| format!("{f}=true")).collect();
    (!set.is_empty()).then(|| format!("host namespaces ({})", set.join(", ")))
}

fn host_path_volumes(pod: &Pod<'_>) -> Option<String> {
    let volumes = list(pod.spec, "/volumes").iter().filter(|v| v.get("hostPath").is_some());
    let bad: Vec<&str> = volumes.map(|v| text(v, "/name")).collect();
    (!bad.is_empty()).then(|| format!("hostPath volumes ({})", named("volume", &bad)))
}

fn host_ports(pod: &Pod<'_>) -> Option<String> {
    let mut containers = Vec::new();
    let mut ports = Vec::new();
    for container in pod.containers() {
        let own = list(container, "/ports").iter().filter_map(|p| at(p, "/hostPort").as_i64()).filter(|p| *p != 0);
        let own: Vec<String> = own.map(|p| p.to_string()).collect();
        if !own.is_empty() {
            containers.push(text(container, "/name"));
            ports.extend(own);
        }
    }
    ports.sort();
    ports.dedup();
    let (uses, plural) = (if containers.len() == 1 { "uses" } else { "use" }, if ports.len() == 1 { "" } else { "s" });
    (!ports.is_empty())
        .then(|| format!("hostPort ({} {uses} hostPort{plural} {})", named("container", &containers), ports.join(", ")))
}

fn privileged(pod: &Pod<'_>) -> Option<String> {
    let bad = pod.where_container(|c| at(c, "/securityContext/privileged") == &Value::Bool(true));
    (!bad.is_empty())
        .then(|| format!("privileged ({} must not set securityContext.privileged=true)", named("container", &bad)))
}

fn proc_mount(pod: &Pod<'_>) -> Option<String> {
    let of = |c: &Value| text(c, "/securityContext/procMount").to_owned();
    let bad = pod.where_container(|c| !matches!(of(c).as_str(), "" | "Default"));
    let mut kinds: Vec<String> = pod.containers().map(of).filter(|m| !matches!(m.as_str(), "" | "Default")).collect();
    kinds.sort();
    kinds.dedup();
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    (!bad.is_empty()).then(|| {
        format!("procMount ({} must not set securityContext.procMount to {})", named("container", &bad), quoted(&kinds))
    })
}

const ALLOWED_VOLUMES: [&str; 8] =
    ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected"];

fn volume_types(pod: &Pod<'_>) -> Option<String> {
    let (mut volumes, mut kinds) = (Vec::new(), Vec::new());
    for volume in list(pod.spec, "/volumes") {
        let fields = volume.as_object().into_iter().flatten().map(|(k, _)| k.as_str());
        let bad = fields.filter(|k| *k != "name" && *k != "secret" && !ALLOWED_VOLUMES.contains(k));
        let bad: Vec<&str> = bad.collect();
        if !bad.is_empty() {
            volumes.push(text(volume, "/name"));
            kinds.extend(bad);
        }
    }
    kinds.sort_unstable();
    kinds.dedup();
    let (uses, plural) = (if volumes.len() == 1 { "uses" } else { "use" }, if kinds.len() == 1 { "" } else { "s" });
    (!volumes.is_empty()).then(|| {
        let who = named("volume", &volumes);
        format!("restricted volume types ({who} {uses} restricted volume type{plural} {})", quoted(&kinds))
    })
}

fn run_as_non_root(pod: &Pod<'_>) -> Option<String> {
    let of = |v: &Value| at(v, "/securityContext/runAsNonRoot").as_bool();
    let explicit = pod.where_container(|c| of(c) == Some(false));
    let implicit = pod.where_container(|c| of(c).is_none());
    let whole = of(pod.spec);
    let mut details = Vec::new();
    if whole == Some(false) {
        details.push("pod must not set securityContext.runAsNonRoot=false".to_owned());
    }
    if !explicit.is_empty() {
        details.push(format!("{} must not set securityContext.runAsNonRoot=false", named("container", &explicit)));
    }
    if details.is_empty() && whole != Some(true) && !implicit.is_empty() {
        details.push(format!("pod or {} must set securityContext.runAsNonRoot=true", named("container", &implicit)));
    }
    (!details.is_empty()).then(|| format!("runAsNonRoot != true ({})", details.join(", ")))
}

fn run_as_user(pod: &Pod<'_>) -> Option<String> {
    let root = |v: &Value| at(v, "/securityContext/runAsUser").as_i64() == Some(0);
    let mut who = Vec::new();
    if root(pod.spec) {
        who.push("pod".to_owned());
    }
    let bad = pod.where_container(root);
    if !bad.is_empty() {
        who.push(named("container", &bad));
    }
    (!who.is_empty()).then(|| format!("runAsUser=0 ({} must not set runAsUser=0)", who.join(" and ")))
}

fn se_linux(pod: &Pod<'_>) -> Option<String> {
    const TYPES: [&str; 5] = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
    let options = |v: &Value| at(v, "/securityContext/seLinuxOptions").clone();
    let bad = |v: &Value| {
        let o = options(v);
        !TYPES.contains(&text(&o, "/type")) || !text(&o, "/user").is_empty() || !text(&o, "/role").is_empty()
    };
    let containers = pod.where_container(bad);
    let mut who = Vec::new();
    if bad(pod.spec) {
        who.push("pod".to_owned());
    }
    if !containers.is_empty() {
        who.push(named("container", &containers));
    }
    if who.is_empty() {
        return None;
    }
    let mut details = Vec::new();
    for part in std::iter::once(pod.spec).chain(pod.containers()).filter(|v| bad(v)) {
        let o = options(part);
        if !TYPES.contains(&text(&o, "/type")) {
            details.push(format!("type \"{}\"", text(&o, "/type")));
        }
        details.extend((!text(&o, "/user").is_empty()).then(|| "user may not be set".to_owned()));
        details.extend((!text(&o, "/role").is_empty()).then(|| "role may not be set".to_owned()));
    }
    details.sort();
    details.dedup();
    Some(format!(
        "seLinuxOptions ({} set forbidden securityContext.seLinuxOptions: {})",
        who.join(" and "),
        details.join("; ")
    ))
}

fn seccomp_type(v: &Value) -> &str {
    text(v, "/securityContext/seccompProfile/type")
}

fn is_bad_seccomp(kind: &str) -> bool {
    !matches!(kind, "" | "RuntimeDefault" | "Localhost")
}

fn seccomp_baseline(pod: &Pod<'_>) -> Option<String> {
    let mut who = Vec::new();
    if is_bad_seccomp(seccomp_type(pod.spec)) {
        who.push("pod".to_owned());
    }
    let bad = pod.where_container(|c| is_bad_seccomp(seccomp_type(c)));
    if !bad.is_empty() {
        who.push(named("container", &bad));
    }
    (!who.is_empty()).then(|| {
        format!(
            "seccompProfile ({} must not set securityContext.seccompProfile.type to \"Unconfined\")",
            who.join(" and ")
        )
    })
}

fn seccomp_restricted(pod: &Pod<'_>) -> Option<String> {
    if pod.is_windows() {
        return None;
    }
    if let Some(text) = seccomp_baseline(pod) {
        return Some(text);
    }
    let missing = pod.where_container(|c| seccomp_type(c).is_empty());
    (seccomp_type(pod.spec).is_empty() && !missing.is_empty()).then(|| {
        let who = named("container", &missing);
        format!("seccompProfile (pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")")
    })
}

const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

fn sysctls(pod: &Pod<'_>) -> Option<String> {
    let names = list(pod.spec, "/securityContext/sysctls").iter().map(|s| text(s, "/name"));
    let bad: Vec<&str> = names.filter(|n| !SAFE_SYSCTLS.contains(n)).collect();
    (!bad.is_empty()).then(|| format!("forbidden sysctls ({})", bad.join(", ")))
}

fn host_process(pod: &Pod<'_>) -> Option<String> {
    let set = |v: &Value| at(v, "/securityContext/windowsOptions/hostProcess") == &Value::Bool(true);
    let mut who = Vec::new();
    if set(pod.spec) {
        who.push("pod".to_owned());
    }
    let bad = pod.where_container(set);
    if !bad.is_empty() {
        who.push(named("container", &bad));
    }
    (!who.is_empty()).then(|| {
        format!("hostProcess ({} must not set securityContext.windowsOptions.hostProcess=true)", who.join(" and "))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plain_pod_is_baseline_and_not_restricted() {
        let pod = json!({ "spec": { "containers": [{ "name": "c" }] } });
        assert!(violations(Level::Baseline, &pod).is_empty());
        assert_eq!(
            violations(Level::Restricted, &pod),
            [
                "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false)",
                "unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"])",
                "runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true)",
                "seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")",
            ]
        );
    }

    #[test]
    fn what_baseline_refuses() {
        let check = |pod: Value, want: &str| assert_eq!(violations(Level::Baseline, &pod), [want]);
        check(
            json!({ "spec": { "hostNetwork": true, "hostPID": true } }),
            "host namespaces (hostNetwork=true, hostPID=true)",
        );
        check(
            json!({ "spec": { "volumes": [{ "name": "v", "hostPath": { "path": "/" } }] } }),
            "hostPath volumes (volume \"v\")",
        );
        check(
            json!({ "spec": { "containers": [{ "name": "c", "securityContext": { "privileged": true } }] } }),
            "privileged (container \"c\" must not set securityContext.privileged=true)",
        );
        check(
            json!({ "spec": { "containers": [{ "name": "c", "ports": [{ "hostPort": 80 }] }] } }),
            "hostPort (container \"c\" uses hostPort 80)",
        );
        check(
            json!({ "spec": { "containers": [{ "name": "c", "securityContext": { "capabilities": { "add": ["SYS_ADMIN"] } } }] } }),
            "non-default capabilities (container \"c\" must not include \"SYS_ADMIN\" in securityContext.capabilities.add)",
        );
    }

    #[test]
    fn a_hardened_pod_is_restricted() {
        let pod = json!({ "spec": {
            "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
            "volumes": [{ "name": "s", "secret": {} }, { "name": "t", "projected": {} }],
            "containers": [{ "name": "c", "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"], "add": ["NET_BIND_SERVICE"] },
            } }],
        } });
        assert!(violations(Level::Restricted, &pod).is_empty(), "{:?}", violations(Level::Restricted, &pod));
    }
}
