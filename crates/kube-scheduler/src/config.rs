//! `KubeSchedulerConfiguration` (v1), as far as it is acted on; fields that are not are refused by name.

pub(crate) mod check;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    extender::{ExtenderConfig, Extenders},
    framework::{ConfigError, Point, Registry},
};

/// A plugin named in a set.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginRef {
    /// Its name, or `*` among the disabled.
    pub name: String,
    /// What its scores weigh.
    #[serde(default)]
    pub weight: Option<i64>,
}

/// The plugins switched on and off at a point.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PluginSet {
    /// Switched on.
    pub enabled: Vec<PluginRef>,
    /// Switched off.
    pub disabled: Vec<PluginRef>,
}

impl PluginSet {
    /// Whether the name is among the disabled.
    #[must_use]
    pub fn disables(&self, name: &str) -> bool {
        self.disabled.iter().any(|p| p.name == name)
    }
}

/// The plugins by point.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Plugins {
    /// At every point where the plugin takes part.
    pub multi_point: PluginSet,
    pre_enqueue: PluginSet,
    queue_sort: PluginSet,
    pre_filter: PluginSet,
    filter: PluginSet,
    post_filter: PluginSet,
    pre_score: PluginSet,
    score: PluginSet,
    reserve: PluginSet,
    permit: PluginSet,
    pre_bind: PluginSet,
    bind: PluginSet,
    post_bind: PluginSet,
}

impl Plugins {
    /// Every point with the name of its field and its set.
    #[must_use]
    pub fn by_point(&self) -> [(Point, &'static str, &PluginSet); 12] {
        [
            (Point::PreEnqueue, "preEnqueue", &self.pre_enqueue),
            (Point::QueueSort, "queueSort", &self.queue_sort),
            (Point::PreFilter, "preFilter", &self.pre_filter),
            (Point::Filter, "filter", &self.filter),
            (Point::PostFilter, "postFilter", &self.post_filter),
            (Point::PreScore, "preScore", &self.pre_score),
            (Point::Score, "score", &self.score),
            (Point::Reserve, "reserve", &self.reserve),
            (Point::Permit, "permit", &self.permit),
            (Point::PreBind, "preBind", &self.pre_bind),
            (Point::Bind, "bind", &self.bind),
            (Point::PostBind, "postBind", &self.post_bind),
        ]
    }
}

/// A plugin's arguments.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginConfig {
    /// The plugin.
    pub name: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Value,
}

/// How one scheduler name's pods are placed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ProfileConfig {
    /// The name.
    #[serde(default = "default_scheduler_name")]
    pub scheduler_name: String,
    /// Overrides the general setting.
    #[serde(default)]
    pub percentage_of_nodes_to_score: Option<i64>,
    /// Which plugins.
    #[serde(default)]
    pub plugins: Plugins,
    /// Their arguments.
    #[serde(default)]
    pub plugin_config: Vec<PluginConfig>,
}

fn default_scheduler_name() -> String {
    "default-scheduler".to_owned()
}

impl Default for ProfileConfig {
    fn default() -> Self {
        ProfileConfig {
            scheduler_name: default_scheduler_name(),
            percentage_of_nodes_to_score: None,
            plugins: Plugins::default(),
            plugin_config: Vec::new(),
        }
    }
}

impl ProfileConfig {
    /// Makes NodeResourcesFit leave the resource to an extender.
    fn ignore_resource(&mut self, name: &str) {
        const FIT: &str = "NodeResourcesFit";
        if !self.plugin_config.iter().any(|c| c.name == FIT) {
            self.plugin_config.push(PluginConfig { name: FIT.to_owned(), args: Value::Null });
        }
        for plugin in self.plugin_config.iter_mut().filter(|c| c.name == FIT) {
            if plugin.args.is_null() {
                plugin.args = serde_json::json!({});
            }
            if let Some(args) = plugin.args.as_object_mut() {
                let ignored = args.entry("ignoredResources").or_insert_with(|| serde_json::json!([]));
                ignored.as_array_mut().into_iter().for_each(|list| list.push(name.into()));
            }
        }
    }

    /// A plugin's arguments, `Null` where none are given.
    #[must_use]
    pub fn args(&self, plugin: &str) -> Value {
        self.plugin_config.iter().find(|c| c.name == plugin).map_or(Value::Null, |c| c.args.clone())
    }
}

/// The configuration file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct KubeSchedulerConfiguration {
    /// `kubescheduler.config.k8s.io/v1`.
    pub api_version: String,
    /// `KubeSchedulerConfiguration`.
    pub kind: String,
    /// Accepted; filters run on one core, which is what decides are made of takes least.
    #[serde(default)]
    pub parallelism: Option<i64>,
    /// Leader election.
    #[serde(default)]
    pub leader_election: LeaderElectionConfig,
    /// How to reach the API server.
    #[serde(default)]
    pub client_connection: ClientConnection,
    /// Not acted on: the flags of the secure port are.
    #[serde(default, rename = "enableProfiling")]
    pub _enable_profiling: Option<bool>,
    /// Not acted on.
    #[serde(default, rename = "enableContentionProfiling")]
    pub _enable_contention_profiling: Option<bool>,
    /// How many of the feasible nodes are scored.
    #[serde(default)]
    pub percentage_of_nodes_to_score: Option<i64>,
    /// The first wait after a failure.
    #[serde(default)]
    pub pod_initial_backoff_seconds: Option<i64>,
    /// The longest wait after a failure.
    #[serde(default)]
    pub pod_max_backoff_seconds: Option<i64>,
    /// The profiles.
    #[serde(default)]
    pub profiles: Vec<ProfileConfig>,
    /// Programs that take part in decisions.
    #[serde(default)]
    pub extenders: Vec<ExtenderConfig>,
    /// Accepted: plugins write through the binder in any case.
    #[serde(default, rename = "delayCacheUntilActive")]
    pub _delay_cache_until_active: Option<bool>,
}

/// Leader election in the configuration file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct LeaderElectionConfig {
    /// Whether to elect.
    pub leader_elect: Option<bool>,
    /// How long a lease holds.
    pub lease_duration: Option<String>,
    /// When a leader gives up.
    pub renew_deadline: Option<String>,
    /// How often to try.
    pub retry_period: Option<String>,
    /// Only `leases`.
    pub resource_lock: Option<String>,
    /// The lease's name.
    pub resource_name: Option<String>,
    /// The lease's namespace.
    pub resource_namespace: Option<String>,
}

/// The client in the configuration file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct ClientConnection {
    /// The kubeconfig.
    pub kubeconfig: Option<String>,
    /// Accepted: the client negotiates.
    #[serde(rename = "acceptContentTypes")]
    pub _accept_content_types: Option<String>,
    /// Accepted: the client negotiates.
    #[serde(rename = "contentType")]
    pub _content_type: Option<String>,
    /// Requests per second.
    pub qps: Option<f64>,
    /// Requests at once.
    pub burst: Option<i64>,
}

/// What the scheduler runs with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The profiles, at least one.
    pub profiles: Vec<ProfileConfig>,
    /// How many of the feasible nodes are scored, in percent; 0: fewer the more nodes there are.
    pub percentage_of_nodes_to_score: i64,
    /// The first wait of a pod after a failed attempt.
    pub initial_backoff: std::time::Duration,
    /// The longest wait of a pod after failed attempts.
    pub max_backoff: std::time::Duration,
    /// The plugins that profiles can name.
    pub registry: Registry,
    /// Programs that take part in decisions.
    pub extenders: Arc<Extenders>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            profiles: vec![ProfileConfig::default()],
            percentage_of_nodes_to_score: 0,
            initial_backoff: std::time::Duration::from_secs(1),
            max_backoff: std::time::Duration::from_secs(10),
            registry: Registry::default(),
            extenders: Arc::default(),
        }
    }
}

impl KubeSchedulerConfiguration {
    /// What of the file concerns decisions.
    ///
    /// # Errors
    /// Names the field whose value is wrong or not supported.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let value = |at: &str, message: &str| ConfigError::Value { at: at.to_owned(), message: message.to_owned() };
        if self.api_version != "kubescheduler.config.k8s.io/v1" || self.kind != "KubeSchedulerConfiguration" {
            return Err(value("apiVersion", "want kind KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1"));
        }
        if let Some(problems) = check::check(self) {
            return Err(ConfigError::Invalid(problems));
        }
        let seconds = |given: Option<i64>, default: u64| {
            std::time::Duration::from_secs(given.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(default))
        };
        let mut profiles =
            if self.profiles.is_empty() { vec![ProfileConfig::default()] } else { self.profiles.clone() };
        let managed = self.extenders.iter().flat_map(|e| &e.managed_resources);
        for resource in managed.filter(|r| r.ignored_by_scheduler) {
            profiles.iter_mut().for_each(|profile| profile.ignore_resource(&resource.name));
        }
        let extenders = Extenders::new(&self.extenders).map_err(|message| value("extenders", &message))?;
        Ok(Config {
            profiles,
            percentage_of_nodes_to_score: self.percentage_of_nodes_to_score.unwrap_or(0),
            initial_backoff: seconds(self.pod_initial_backoff_seconds, 1),
            max_backoff: seconds(self.pod_max_backoff_seconds, 10),
            registry: Registry::default(),
            extenders: Arc::new(extenders),
        })
    }
}
