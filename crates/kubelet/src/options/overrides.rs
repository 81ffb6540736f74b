//! Flags that name a field of the configuration file.

use component_base::flags::Flags;
use serde_json::{Value, json};

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Int,
    Bool,
    List,
    Map,
}
use Kind::{Bool, Int, List, Map, Text};

/// Flag, path of the field, kind.
const TABLE: &[(&str, &str, Kind)] = &[
    ("address", "address", Text),
    ("allowed-unsafe-sysctls", "allowedUnsafeSysctls", List),
    ("anonymous-auth", "authentication.anonymous.enabled", Bool),
    ("authentication-token-webhook", "authentication.webhook.enabled", Bool),
    ("authorization-mode", "authorization.mode", Text),
    ("cgroup-driver", "cgroupDriver", Text),
    ("cgroup-root", "cgroupRoot", Text),
    ("cgroups-per-qos", "cgroupsPerQOS", Bool),
    ("client-ca-file", "authentication.x509.clientCAFile", Text),
    ("cluster-dns", "clusterDNS", List),
    ("cluster-domain", "clusterDomain", Text),
    ("container-log-max-files", "containerLogMaxFiles", Int),
    ("container-log-max-size", "containerLogMaxSize", Text),
    ("container-runtime-endpoint", "containerRuntimeEndpoint", Text),
    ("cpu-cfs-quota", "cpuCFSQuota", Bool),
    ("cpu-cfs-quota-period", "cpuCFSQuotaPeriod", Text),
    ("cpu-manager-policy", "cpuManagerPolicy", Text),
    ("enable-debugging-handlers", "enableDebuggingHandlers", Bool),
    ("enable-server", "enableServer", Bool),
    ("enforce-node-allocatable", "enforceNodeAllocatable", List),
    ("event-qps", "eventRecordQPS", Int),
    ("eviction-hard", "evictionHard", Map),
    ("eviction-soft", "evictionSoft", Map),
    ("file-check-frequency", "fileCheckFrequency", Text),
    ("healthz-bind-address", "healthzBindAddress", Text),
    ("healthz-port", "healthzPort", Int),
    ("image-gc-high-threshold", "imageGCHighThresholdPercent", Int),
    ("image-gc-low-threshold", "imageGCLowThresholdPercent", Int),
    ("image-service-endpoint", "imageServiceEndpoint", Text),
    ("kube-reserved", "kubeReserved", Map),
    ("manifest-url", "staticPodURL", Text),
    ("max-pods", "maxPods", Int),
    ("memory-manager-policy", "memoryManagerPolicy", Text),
    ("minimum-image-ttl-duration", "imageMinimumGCAge", Text),
    ("node-status-max-images", "nodeStatusMaxImages", Int),
    ("node-status-update-frequency", "nodeStatusUpdateFrequency", Text),
    ("pod-cidr", "podCIDR", Text),
    ("pod-manifest-path", "staticPodPath", Text),
    ("pod-max-pids", "podPidsLimit", Int),
    ("port", "port", Int),
    ("provider-id", "providerID", Text),
    ("qos-reserved", "qosReserved", Map),
    ("register-node", "registerNode", Bool),
    ("register-with-taints", "registerWithTaints", List),
    ("reserved-cpus", "reservedSystemCPUs", Text),
    ("resolv-conf", "resolvConf", Text),
    ("rotate-certificates", "rotateCertificates", Bool),
    ("rotate-server-certificates", "serverTLSBootstrap", Bool),
    ("runonce", "runOnce", Bool),
    ("runtime-request-timeout", "runtimeRequestTimeout", Text),
    ("seccomp-default", "seccompDefault", Bool),
    ("serialize-image-pulls", "serializeImagePulls", Bool),
    ("sync-frequency", "syncFrequency", Text),
    ("system-reserved", "systemReserved", Map),
    ("tls-cert-file", "tlsCertFile", Text),
    ("tls-min-version", "tlsMinVersion", Text),
    ("tls-private-key-file", "tlsPrivateKeyFile", Text),
    ("topology-manager-policy", "topologyManagerPolicy", Text),
];

/// Writes the flags that were given over the file's fields.
pub(super) fn apply(flags: &Flags, document: &mut Value) -> anyhow::Result<()> {
    for (flag, path, kind) in TABLE.iter().filter(|(flag, _, _)| flags.is_set(flag)) {
        let value = match kind {
            Text => json!(flags.get(flag)),
            Int => json!(flags.int(flag)),
            Bool => json!(flags.bool(flag)),
            List => json!(flags.list(flag)),
            Map => json!(map(flags.get(flag))),
        };
        let mut place = &mut *document;
        for part in path.split('.') {
            if !place.is_object() {
                *place = json!({});
            }
            place = &mut place[part];
        }
        *place = value;
    }
    Ok(())
}

/// `a=1,b=2`, or with `<` as eviction thresholds are written.
fn map(text: &str) -> std::collections::BTreeMap<String, String> {
    let pair =
        |part: &str| part.split_once(['=', '<']).map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()));
    text.split(',').filter_map(pair).collect()
}
