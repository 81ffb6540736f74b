//! What the metrics APIs answer, as samples. Pure.

use std::collections::BTreeMap;

use api_types::{
    k8s_openapi::{
        apimachinery::pkg::{
            api::resource::Quantity,
            apis::meta::v1::{ObjectMeta, Time},
        },
        jiff::{SignedDuration, Timestamp},
    },
    quantity,
};
use serde::Deserialize;

/// What an adapter's metric spans when it does not say.
const DEFAULT_WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// One pod's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PodMetric {
    /// When the window ended.
    pub(super) timestamp: Timestamp,
    /// Over what time it was measured.
    pub(super) window: SignedDuration,
    /// In thousandths.
    pub(super) value: i64,
}

/// Values by pod name.
pub(super) type PodMetrics = BTreeMap<String, PodMetric>;

/// The measured values of one metric of a spec.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Sample {
    /// By pod.
    Pods(PodMetrics),
    /// Of one object, or the sum of an external metric; in thousandths.
    Total(i64),
}

/// `metrics.k8s.io/v1beta1`, list of `PodMetrics`.
#[derive(Deserialize)]
pub(super) struct PodMetricsList {
    #[serde(default)]
    items: Vec<PodMetricsItem>,
}

#[derive(Deserialize)]
struct PodMetricsItem {
    metadata: ObjectMeta,
    timestamp: Time,
    #[serde(default)]
    window: String,
    #[serde(default)]
    containers: Vec<ContainerMetrics>,
}

#[derive(Deserialize)]
struct ContainerMetrics {
    name: String,
    #[serde(default)]
    usage: BTreeMap<String, Quantity>,
}

/// `custom.metrics.k8s.io` (v1beta1 calls the window `window`, v1beta2 `windowSeconds`) and `external.metrics.k8s.io/v1beta1`.
#[derive(Deserialize)]
pub(super) struct ValueList {
    #[serde(default)]
    items: Vec<ValueItem>,
}

#[derive(Deserialize)]
struct ValueItem {
    #[serde(default, rename = "describedObject")]
    described: Described,
    timestamp: Option<Time>,
    #[serde(alias = "window", rename = "windowSeconds")]
    window_seconds: Option<i64>,
    value: Quantity,
}

#[derive(Default, Deserialize)]
struct Described {
    #[serde(default)]
    name: String,
}

impl PodMetricsList {
    /// The usage of a resource by pod; of one container, where it is named.
    pub(super) fn usage(&self, resource: &str, container: Option<&str>) -> Result<PodMetrics, String> {
        if self.items.is_empty() {
            return Err("no metrics returned from resource metrics API".into());
        }
        let mut all = PodMetrics::new();
        for item in &self.items {
            let value = match container {
                None => item.sum(resource),
                Some(name) => item.of_container(resource, name)?,
            };
            let Some(value) = value else { continue };
            let window = parse_window(&item.window);
            let name = item.metadata.name.clone().unwrap_or_default();
            all.insert(name, PodMetric { timestamp: item.timestamp.0, window, value });
        }
        Ok(all)
    }
}

impl PodMetricsItem {
    /// Of all containers; none where one of them was not measured.
    fn sum(&self, resource: &str) -> Option<i64> {
        if self.containers.is_empty() {
            return None;
        }
        self.containers.iter().map(|c| c.usage.get(resource).map(milli)).sum()
    }

    fn of_container(&self, resource: &str, name: &str) -> Result<Option<i64>, String> {
        match self.containers.iter().find(|c| c.name == name) {
            Some(container) => Ok(container.usage.get(resource).map(milli)),
            None => {
                let (namespace, pod) = (self.metadata.namespace.as_deref(), self.metadata.name.as_deref());
                let pod = format!("{}/{}", namespace.unwrap_or_default(), pod.unwrap_or_default());
                Err(format!("failed to get container metrics: container {name} not present in metrics for pod {pod}"))
            }
        }
    }
}

impl ValueList {
    /// Values of pods, by name.
    pub(super) fn by_pod(&self) -> Result<PodMetrics, String> {
        if self.items.is_empty() {
            return Err("no metrics returned from custom metrics API".into());
        }
        let metric = |item: &ValueItem| PodMetric {
            timestamp: item.timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            window: item.window_seconds.map_or(DEFAULT_WINDOW, SignedDuration::from_secs),
            value: milli(&item.value),
        };
        Ok(self.items.iter().map(|item| (item.described.name.clone(), metric(item))).collect())
    }

    /// The value of one object.
    pub(super) fn single(&self) -> Result<i64, String> {
        match &self.items[..] {
            [one] => Ok(milli(&one.value)),
            all => Err(format!(
                "the custom metrics API server returned {} results when we asked for exactly one",
                all.len()
            )),
        }
    }

    /// The sum of an external metric.
    pub(super) fn total(&self) -> Result<i64, String> {
        if self.items.is_empty() {
            return Err("no metrics returned from external metrics API".into());
        }
        Ok(self.items.iter().fold(0i64, |sum, item| sum.saturating_add(milli(&item.value))))
    }
}

fn milli(value: &Quantity) -> i64 {
    value.0.parse::<quantity::Quantity>().map_or(0, |value| value.milli_value())
}

/// A duration in Go's form; one that can't be read spans nothing.
fn parse_window(text: &str) -> SignedDuration {
    api_types::duration::parse(text).map_or(SignedDuration::ZERO, SignedDuration::from_nanos)
}
