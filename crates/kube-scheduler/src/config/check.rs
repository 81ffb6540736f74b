//! What is wrong with a configuration file, all of it at once and in upstream's words.

use std::{collections::BTreeMap, fmt::Display};

use component_base::duration::parse_duration;
use serde_json::{Map, Value};

use super::{KubeSchedulerConfiguration, PluginSet, ProfileConfig};
use crate::extender;

/// Plugins that are gone from this version of the configuration.
const GONE: [&str; 4] = ["AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits"];

/// Collects mistakes.
#[derive(Default)]
pub(crate) struct Problems(Vec<String>);

impl Problems {
    pub(crate) fn invalid(&mut self, at: impl Display, value: impl Display, why: &str) {
        self.0.push(format!("{at}: Invalid value: {value}: {why}"));
    }

    fn required(&mut self, at: impl Display, why: &str) {
        let detail = if why.is_empty() { String::new() } else { format!(": {why}") };
        self.0.push(format!("{at}: Required value{detail}"));
    }

    fn duplicate(&mut self, at: impl Display, value: impl Display) {
        self.0.push(format!("{at}: Duplicate value: {value}"));
    }

    fn unsupported(&mut self, at: impl Display, value: &str, supported: &[&str]) {
        let supported: Vec<_> = supported.iter().map(|s| format!("{s:?}")).collect();
        self.0.push(format!("{at}: Unsupported value: {value:?}: supported values: {}", supported.join(", ")));
    }

    fn forbidden(&mut self, at: impl Display, why: &str) {
        self.0.push(format!("{at}: Forbidden: {why}"));
    }

    fn range(&mut self, at: impl Display, value: i64, range: std::ops::RangeInclusive<i64>, shown: &str) {
        if !range.contains(&value) {
            self.invalid(at, value, &format!("not in valid range {shown}"));
        }
    }

    /// All of them as one text, as upstream's aggregates are printed.
    pub(crate) fn text(self) -> Option<String> {
        match self.0.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            many => Some(format!("[{}]", many.join(", "))),
        }
    }
}

/// Everything that is wrong with the file.
pub(super) fn check(file: &KubeSchedulerConfiguration) -> Option<String> {
    let mut problems = Problems::default();
    if let Some(parallelism) = file.parallelism.filter(|p| *p <= 0) {
        problems.invalid("parallelism", parallelism, "should be an integer value greater than zero");
    }
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, profile) in file.profiles.iter().enumerate() {
        check_profile(&mut problems, &format!("profiles[{index}]"), profile);
        if let Some(first) = seen.insert(&profile.scheduler_name, index) {
            problems.duplicate(format!("profiles[{index}].schedulerName"), format!("profiles[{first}].schedulerName"));
        }
    }
    check_queue_sort(&mut problems, &file.profiles);
    if let Some(percentage) = file.percentage_of_nodes_to_score {
        problems.range("percentageOfNodesToScore", percentage, 0..=100, "[0-100]");
    }
    let (initial, max) = (file.pod_initial_backoff_seconds.unwrap_or(1), file.pod_max_backoff_seconds.unwrap_or(10));
    if initial <= 0 {
        problems.invalid("podInitialBackoffSeconds", initial, "must be greater than 0");
    }
    if max < initial {
        problems.invalid("podMaxBackoffSeconds", max, "must be greater than or equal to PodInitialBackoffSeconds");
    }
    extender::check(&file.extenders, &mut problems);
    problems.text()
}

fn check_profile(problems: &mut Problems, at: &str, profile: &ProfileConfig) {
    if profile.scheduler_name.is_empty() {
        problems.required(format!("{at}.schedulerName"), "");
    }
    if let Some(percentage) = profile.percentage_of_nodes_to_score {
        problems.range(format!("{at}.percentageOfNodesToScore"), percentage, 0..=100, "[0-100]");
    }
    let gone =
        "was invalid in version \"v1\" (KubeSchedulerConfiguration is version \"kubescheduler.config.k8s.io/v1\")";
    for (_, field, set) in profile.plugins.by_point() {
        for (index, plugin) in set.enabled.iter().enumerate().filter(|(_, p)| GONE.contains(&p.name.as_str())) {
            problems.invalid(format!("{at}.plugins.{field}.enabled[{index}]"), format!("{:?}", plugin.name), gone);
        }
    }
    for (index, config) in profile.plugin_config.iter().enumerate() {
        let at = format!("{at}.pluginConfig[{index}]");
        if profile.plugin_config[..index].iter().any(|other| other.name == config.name) {
            problems.duplicate(&at, format!("{:?}", config.name));
        }
        if GONE.contains(&config.name.as_str()) {
            problems.invalid(&at, format!("{:?}", config.name), gone);
        }
        if let Some(args) = config.args.as_object() {
            check_args(problems, &format!("{at}.args"), &config.name, args);
        }
    }
}

fn check_queue_sort(problems: &mut Problems, profiles: &[ProfileConfig]) {
    let Some(first) = profiles.first() else { return };
    let enabled = first.plugins.queue_sort.enabled.len();
    if enabled > 1 {
        let at = "profiles[0].plugins.queueSort.Enabled";
        problems.invalid(at, enabled, "only one queue sort plugin can be enabled");
    }
    let names = |set: &PluginSet| -> Vec<Vec<String>> {
        [&set.enabled, &set.disabled].map(|list| list.iter().map(|p| p.name.clone()).collect()).into()
    };
    for (index, profile) in profiles.iter().enumerate().skip(1) {
        let own = names(&profile.plugins.queue_sort);
        if own != names(&first.plugins.queue_sort) {
            let at = format!("profiles[{index}].plugins.queueSort");
            problems.invalid(at, format!("{own:?}"), "must be the same for all profiles");
        }
    }
}

/// The arguments of Kubernetes' own plugins; those of NodeResourcesFit are looked at when it is made.
fn check_args(problems: &mut Problems, at: &str, plugin: &str, args: &Map<String, Value>) {
    let number = |name: &str, default: i64| args.get(name).and_then(Value::as_i64).unwrap_or(default);
    match plugin {
        "DefaultPreemption" => {
            let (percentage, absolute) = ("minCandidateNodesPercentage", "minCandidateNodesAbsolute");
            let (share, count) = (number(percentage, 10), number(absolute, 100));
            problems.range(format!("{at}.{percentage}"), share, 0..=100, "[0, 100]");
            problems.range(format!("{at}.{absolute}"), count, 0..=i64::MAX, "[0, inf)");
            if share == 0 && count == 0 {
                let why = |other: &str| format!("cannot be zero at the same time as {other}");
                problems.invalid(format!("{at}.{percentage}"), share, &why(absolute));
                problems.invalid(format!("{at}.{absolute}"), count, &why(percentage));
            }
        }
        "InterPodAffinity" => {
            let name = "hardPodAffinityWeight";
            problems.range(format!("{at}.{name}"), number(name, 1), 0..=100, "[0, 100]");
        }
        "NodeResourcesBalancedAllocation" => check_balanced(problems, at, args),
        "PodTopologySpread" => check_spread(problems, at, args),
        "VolumeBinding" => {
            let timeout = number("bindTimeoutSeconds", 600);
            if timeout < 0 {
                let why = "invalid BindTimeoutSeconds, should not be a negative value";
                problems.invalid(format!("{at}.bindTimeoutSeconds"), timeout, why);
            }
            if let Some(shape) = args.get("shape").filter(|shape| !shape.is_null()) {
                let why = "unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring";
                problems.invalid(format!("{at}.shape"), shape, why);
            }
        }
        "DynamicResources" => {
            let timeout = args.get("bindingTimeout").and_then(Value::as_str);
            if let Some(text) = timeout
                && parse_duration(text).map_or(true, |timeout| timeout.as_secs() < 1)
            {
                problems.invalid(format!("{at}.bindingTimeout"), format!("{text:?}"), "must be at least 1 second");
            }
            let timeout = args.get("filterTimeout").and_then(Value::as_str);
            if let Some(text) = timeout.filter(|text| parse_duration(text).is_err()) {
                problems.invalid(format!("{at}.filterTimeout"), format!("{text:?}"), "must be zero or positive");
            }
        }
        _ => {}
    }
}

fn list<'v>(args: &'v Map<String, Value>, name: &str) -> &'v [Value] {
    args.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn text<'v>(of: &'v Value, name: &str) -> &'v str {
    of.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn check_balanced(problems: &mut Problems, at: &str, args: &Map<String, Value>) {
    let resources = list(args, "resources");
    for (index, resource) in resources.iter().enumerate() {
        let at = format!("{at}.resources[{index}]");
        let name = text(resource, "name");
        if resources[..index].iter().any(|other| text(other, "name") == name) {
            problems.duplicate(format!("{at}.name"), format!("{name:?}"));
        }
        // Nothing said means one.
        let weight = resource.get("weight").and_then(Value::as_i64).unwrap_or(0);
        if !matches!(weight, 0 | 1) {
            problems.invalid(format!("{at}.weight"), weight, "must be 1");
        }
    }
}

fn check_spread(problems: &mut Problems, at: &str, args: &Map<String, Value>) {
    let constraints = list(args, "defaultConstraints");
    let defaulting = args.get("defaultingType").and_then(Value::as_str).unwrap_or("System");
    match defaulting {
        "System" if !constraints.is_empty() => {
            let why = "when .defaultConstraints are not empty";
            problems.invalid(format!("{at}.defaultingType"), "\"System\"", why);
        }
        "System" | "List" => {}
        other => problems.unsupported(format!("{at}.defaultingType"), other, &["System", "List"]),
    }
    let kind = |c: &Value| (text(c, "topologyKey").to_owned(), text(c, "whenUnsatisfiable").to_owned());
    for (index, constraint) in constraints.iter().enumerate() {
        let at = format!("{at}.defaultConstraints[{index}]");
        let skew = constraint.get("maxSkew").and_then(Value::as_i64).unwrap_or(0);
        problems.range(format!("{at}.maxSkew"), skew, 1..=i64::MAX, "(0, inf)");
        let (key, action) = kind(constraint);
        if key.is_empty() {
            problems.required(format!("{at}.topologyKey"), "can not be empty");
        }
        match action.as_str() {
            "DoNotSchedule" | "ScheduleAnyway" => {}
            "" => problems.required(format!("{at}.whenUnsatisfiable"), "can not be empty"),
            other => {
                problems.unsupported(format!("{at}.whenUnsatisfiable"), other, &["DoNotSchedule", "ScheduleAnyway"])
            }
        }
        if constraint.get("labelSelector").is_some_and(|selector| !selector.is_null()) {
            let why = "constraint must not define a selector, as they deduced for each pod";
            problems.forbidden(format!("{at}.labelSelector"), why);
        }
        if constraints[..index].iter().any(|other| kind(other) == kind(constraint)) {
            problems.duplicate(&at, format!("\"{{{key}, {action}}}\""));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(fields: Value) -> Option<String> {
        let mut file = json!({"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"});
        file.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        check(&serde_json::from_value(file).unwrap())
    }

    fn args(plugin: &str, args: Value) -> Option<String> {
        told(json!({"profiles": [{"pluginConfig": [{"name": plugin, "args": args}]}]}))
            .map(|text| text.replace("profiles[0].pluginConfig[0].args.", ""))
    }

    #[test]
    fn files_are_checked_in_upstreams_words() {
        let table = [
            (json!({}), None),
            (
                json!({"parallelism": 0}),
                Some("parallelism: Invalid value: 0: should be an integer value greater than zero"),
            ),
            (
                json!({"percentageOfNodesToScore": 101}),
                Some("percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]"),
            ),
            (
                json!({"podInitialBackoffSeconds": 0, "podMaxBackoffSeconds": -1}),
                Some(
                    "[podInitialBackoffSeconds: Invalid value: 0: must be greater than 0, podMaxBackoffSeconds: Invalid value: -1: must be greater than or equal to PodInitialBackoffSeconds]",
                ),
            ),
            (
                json!({"profiles": [{}, {}]}),
                Some("profiles[1].schedulerName: Duplicate value: profiles[0].schedulerName"),
            ),
            (json!({"profiles": [{"schedulerName": ""}]}), Some("profiles[0].schedulerName: Required value")),
            (
                json!({"profiles": [{"pluginConfig": [{"name": "NodeAffinity"}, {"name": "NodeAffinity"}]}]}),
                Some("profiles[0].pluginConfig[1]: Duplicate value: \"NodeAffinity\""),
            ),
            (
                json!({"profiles": [{"plugins": {"queueSort": {"enabled": [{"name": "A"}, {"name": "B"}]}}}]}),
                Some(
                    "profiles[0].plugins.queueSort.Enabled: Invalid value: 2: only one queue sort plugin can be enabled",
                ),
            ),
        ];
        for (fields, want) in table {
            assert_eq!(told(fields.clone()).as_deref(), want, "{fields}");
        }
        let unlike = json!({"profiles": [{"schedulerName": "a"}, {"schedulerName": "b", "plugins": {"queueSort": {"disabled": [{"name": "*"}]}}}]});
        assert!(told(unlike).unwrap().ends_with("must be the same for all profiles"));
        let gone = json!({"profiles": [{"plugins": {"filter": {"enabled": [{"name": "EBSLimits"}]}}}]});
        assert!(
            told(gone)
                .unwrap()
                .starts_with("profiles[0].plugins.filter.enabled[0]: Invalid value: \"EBSLimits\": was invalid")
        );
    }

    #[test]
    fn arguments_are_checked_in_upstreams_words() {
        let table = [
            (
                "DefaultPreemption",
                json!({"minCandidateNodesPercentage": 101}),
                "minCandidateNodesPercentage: Invalid value: 101: not in valid range [0, 100]",
            ),
            (
                "DefaultPreemption",
                json!({"minCandidateNodesPercentage": 0, "minCandidateNodesAbsolute": 0}),
                "[minCandidateNodesPercentage: Invalid value: 0: cannot be zero at the same time as minCandidateNodesAbsolute, minCandidateNodesAbsolute: Invalid value: 0: cannot be zero at the same time as minCandidateNodesPercentage]",
            ),
            (
                "InterPodAffinity",
                json!({"hardPodAffinityWeight": -1}),
                "hardPodAffinityWeight: Invalid value: -1: not in valid range [0, 100]",
            ),
            (
                "NodeResourcesBalancedAllocation",
                json!({"resources": [{"name": "cpu", "weight": 2}, {"name": "cpu"}]}),
                "[resources[0].weight: Invalid value: 2: must be 1, resources[1].name: Duplicate value: \"cpu\"]",
            ),
            (
                "PodTopologySpread",
                json!({"defaultingType": "Best"}),
                "defaultingType: Unsupported value: \"Best\": supported values: \"System\", \"List\"",
            ),
            (
                "PodTopologySpread",
                json!({"defaultConstraints": [{"maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]}),
                "[defaultingType: Invalid value: \"System\": when .defaultConstraints are not empty, defaultConstraints[0].maxSkew: Invalid value: 0: not in valid range (0, inf)]",
            ),
            (
                "PodTopologySpread",
                json!({"defaultingType": "List", "defaultConstraints": [{"maxSkew": 1, "whenUnsatisfiable": "Maybe", "labelSelector": {}}]}),
                "[defaultConstraints[0].topologyKey: Required value: can not be empty, defaultConstraints[0].whenUnsatisfiable: Unsupported value: \"Maybe\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\", defaultConstraints[0].labelSelector: Forbidden: constraint must not define a selector, as they deduced for each pod]",
            ),
            (
                "VolumeBinding",
                json!({"bindTimeoutSeconds": -1}),
                "bindTimeoutSeconds: Invalid value: -1: invalid BindTimeoutSeconds, should not be a negative value",
            ),
            (
                "VolumeBinding",
                json!({"shape": []}),
                "shape: Invalid value: []: unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring",
            ),
            (
                "DynamicResources",
                json!({"bindingTimeout": "500ms"}),
                "bindingTimeout: Invalid value: \"500ms\": must be at least 1 second",
            ),
        ];
        for (plugin, given, want) in table {
            assert_eq!(args(plugin, given).as_deref(), Some(want), "{plugin}");
        }
        assert_eq!(args("VolumeBinding", json!({"bindTimeoutSeconds": 5})), None);
    }
}
