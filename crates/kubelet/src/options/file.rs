//! The KubeletConfiguration file: the fields that this kubelet reads, those it accepts without effect, and those it refuses.

use crate::config::Taint;
use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Accepted, without effect here (upstream's field names).
const IGNORED: &[&str] = &[
    "apiVersion",
    "kind",
    "configMapAndSecretChangeDetectionStrategy",
    "containerLogMaxWorkers",
    "contentType",
    "cpuManagerPolicyOptions",
    "cpuManagerReconcilePeriod",
    "enableContentionProfiling",
    "enableControllerAttachDetach",
    "enableDebugFlagsHandler",
    "enableProfilingHandler",
    "enableSystemLogHandler",
    "enableSystemLogQuery",
    "eventBurst",
    "evictionMaxPodGracePeriod",
    "evictionMinimumReclaim",
    "evictionPressureTransitionPeriod",
    "failCgroupV1",
    "failSwapOn",
    "featureGates",
    "hairpinMode",
    "httpCheckFrequency",
    "imagePullCredentialsVerificationPolicy",
    "iptablesDropBit",
    "iptablesMasqueradeBit",
    "kernelMemcgNotification",
    "kubeAPIBurst",
    "kubeAPIQPS",
    "kubeReservedCgroup",
    "kubeletCgroups",
    "localStorageCapacityIsolation",
    "logging",
    "makeIPTablesUtilChains",
    "maxOpenFiles",
    "memorySwap",
    "memoryThrottlingFactor",
    "mergeDefaultEvictionSettings",
    "oomScoreAdj",
    "podsPerCore",
    "preloadedImagesVerificationAllowlist",
    "protectKernelDefaults",
    "readOnlyPort",
    "registryBurst",
    "registryPullQPS",
    "reservedMemory",
    "showHiddenMetricsForVersion",
    "shutdownGracePeriod",
    "shutdownGracePeriodByPodPriority",
    "shutdownGracePeriodCriticalPods",
    "singleProcessOOMKill",
    "staticPodURLHeader",
    "streamingConnectionIdleTimeout",
    "systemCgroups",
    "systemReservedCgroup",
    "tlsCipherSuites",
    "tlsCurvePreferences",
    "topologyManagerPolicyOptions",
    "topologyManagerScope",
    "tracing",
    "userNamespaces",
    "volumePluginDir",
    "volumeStatsAggPeriod",
];

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct Authentication {
    pub(super) x509: X509,
    pub(super) webhook: Webhook,
    pub(super) anonymous: Anonymous,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct X509 {
    #[serde(rename = "clientCAFile")]
    pub(super) client_ca_file: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Webhook {
    pub(super) enabled: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Anonymous {
    pub(super) enabled: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Authorization {
    pub(super) mode: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct File {
    pub(super) enable_server: Option<bool>,
    pub(super) static_pod_path: String,
    pub(super) pod_logs_dir: String,
    pub(super) sync_frequency: String,
    pub(super) file_check_frequency: String,
    #[serde(rename = "staticPodURL")]
    pub(super) static_pod_url: String,
    pub(super) address: String,
    pub(super) port: Option<i32>,
    pub(super) tls_cert_file: String,
    pub(super) tls_private_key_file: String,
    pub(super) tls_min_version: String,
    pub(super) rotate_certificates: bool,
    #[serde(rename = "serverTLSBootstrap")]
    pub(super) server_tls_bootstrap: bool,
    pub(super) authentication: Authentication,
    pub(super) authorization: Authorization,
    #[serde(rename = "eventRecordQPS")]
    pub(super) event_record_qps: Option<i32>,
    pub(super) enable_debugging_handlers: Option<bool>,
    pub(super) healthz_port: Option<i32>,
    pub(super) healthz_bind_address: String,
    pub(super) cluster_domain: String,
    #[serde(rename = "clusterDNS")]
    pub(super) cluster_dns: Vec<String>,
    pub(super) node_status_update_frequency: String,
    pub(super) node_status_report_frequency: String,
    pub(super) node_lease_duration_seconds: Option<i32>,
    #[serde(rename = "imageMinimumGCAge")]
    pub(super) image_minimum_gc_age: String,
    #[serde(rename = "imageMaximumGCAge")]
    pub(super) image_maximum_gc_age: String,
    #[serde(rename = "imageGCHighThresholdPercent")]
    pub(super) image_gc_high_threshold_percent: Option<i32>,
    #[serde(rename = "imageGCLowThresholdPercent")]
    pub(super) image_gc_low_threshold_percent: Option<i32>,
    pub(super) cgroup_root: String,
    #[serde(rename = "cgroupsPerQOS")]
    pub(super) cgroups_per_qos: Option<bool>,
    pub(super) cgroup_driver: String,
    pub(super) cpu_manager_policy: String,
    pub(super) memory_manager_policy: String,
    pub(super) topology_manager_policy: String,
    pub(super) runtime_request_timeout: String,
    pub(super) max_pods: Option<i32>,
    #[serde(rename = "podCIDR")]
    pub(super) pod_cidr: String,
    pub(super) pod_pids_limit: Option<i64>,
    pub(super) resolv_conf: Option<String>,
    pub(super) run_once: bool,
    #[serde(rename = "cpuCFSQuota")]
    pub(super) cpu_cfs_quota: Option<bool>,
    #[serde(rename = "cpuCFSQuotaPeriod")]
    pub(super) cpu_cfs_quota_period: String,
    pub(super) node_status_max_images: Option<i32>,
    pub(super) serialize_image_pulls: Option<bool>,
    pub(super) max_parallel_image_pulls: Option<u32>,
    pub(super) eviction_hard: Option<BTreeMap<String, String>>,
    pub(super) eviction_soft: BTreeMap<String, String>,
    pub(super) eviction_soft_grace_period: BTreeMap<String, String>,
    pub(super) container_log_max_size: String,
    pub(super) container_log_max_files: Option<i32>,
    pub(super) container_log_monitor_interval: String,
    pub(super) system_reserved: BTreeMap<String, String>,
    pub(super) kube_reserved: BTreeMap<String, String>,
    #[serde(rename = "reservedSystemCPUs")]
    pub(super) reserved_system_cpus: String,
    pub(super) qos_reserved: BTreeMap<String, String>,
    pub(super) enforce_node_allocatable: Option<Vec<String>>,
    pub(super) allowed_unsafe_sysctls: Vec<String>,
    #[serde(rename = "providerID")]
    pub(super) provider_id: String,
    pub(super) crash_loop_back_off: BTreeMap<String, Value>,
    pub(super) seccomp_default: bool,
    pub(super) register_with_taints: Vec<Value>,
    pub(super) register_node: Option<bool>,
    pub(super) container_runtime_endpoint: String,
    pub(super) image_service_endpoint: String,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

impl File {
    /// Decodes strictly: a field that upstream does not have is an error, and null is absent.
    pub(super) fn decode(document: &Value) -> anyhow::Result<Self> {
        let mut document = document.clone();
        if let Some(fields) = document.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        let file: File = serde_json::from_value(document)?;
        if let Some(unknown) = file.rest.keys().find(|key| !IGNORED.contains(&key.as_str())) {
            bail!("strict decoding error: unknown field {unknown:?}");
        }
        Ok(file)
    }

    /// Settings that would change what the kubelet does and that it does not have: better refused than silently dropped.
    pub(super) fn refused(&self) -> Option<String> {
        let named = |what: &str, value: &str| Some(format!("{what}: {value:?} is not supported by this kubelet"));
        let policy = |value: &str| !matches!(value, "" | "none" | "None");
        match self {
            file if !matches!(file.cgroup_driver.as_str(), "" | "cgroupfs") => {
                Some(format!("cgroupDriver {:?} is not supported by this kubelet: use cgroupfs", file.cgroup_driver))
            }
            file if policy(&file.cpu_manager_policy) => named("cpuManagerPolicy", &file.cpu_manager_policy),
            file if policy(&file.memory_manager_policy) => named("memoryManagerPolicy", &file.memory_manager_policy),
            file if policy(&file.topology_manager_policy) => {
                named("topologyManagerPolicy", &file.topology_manager_policy)
            }
            file if !file.static_pod_url.is_empty() => named("staticPodURL", &file.static_pod_url),
            file if !file.reserved_system_cpus.is_empty() => named("reservedSystemCPUs", &file.reserved_system_cpus),
            file if !file.qos_reserved.is_empty() => named("qosReserved", "memory"),
            file if !file.eviction_soft.is_empty() || !file.eviction_soft_grace_period.is_empty() => {
                named("evictionSoft", "soft eviction")
            }
            file if file.run_once => named("runOnce", "true"),
            _ => None,
        }
    }

    pub(super) fn max_restart_period(&self) -> String {
        let period = self.crash_loop_back_off.get("maxContainerRestartPeriod").and_then(Value::as_str);
        period.unwrap_or_default().to_owned()
    }

    /// Taints, as objects of the file or as text of the flag.
    pub(super) fn taints(&self) -> anyhow::Result<Vec<Taint>> {
        let object = |value: &Value| -> anyhow::Result<Taint> {
            let part = |key: &str| value[key].as_str().unwrap_or_default();
            super::parse_taint(&format!("{}={}:{}", part("key"), part("value"), part("effect")))
        };
        let parse = |value: &Value| match value.as_str() {
            Some(text) => super::parse_taint(text),
            None => object(value),
        };
        self.register_with_taints.iter().map(parse).collect::<anyhow::Result<_>>().context("registerWithTaints")
    }
}
