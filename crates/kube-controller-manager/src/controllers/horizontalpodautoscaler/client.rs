//! Asks the metrics APIs, which others serve behind the API server.

use std::fmt::Write as _;

use api_types::k8s_openapi::{
    api::autoscaling::v2::{CrossVersionObjectReference, MetricIdentifier, MetricSpec},
    apimachinery::pkg::apis::meta::v1::APIGroup,
};
use api_types::selector::LabelSelector;
use kube::Client;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::de::DeserializeOwned;

use super::metrics::{PodMetricsList, Sample, ValueList};
use crate::{discovery::Discovery, pods};

const CUSTOM: &str = "custom.metrics.k8s.io";
/// The versions of the custom metrics API that are understood, the best first.
const CUSTOM_VERSIONS: [&str; 2] = ["v1beta2", "v1beta1"];

/// What a path segment or a query value can't hold as it is.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'+')
    .add(b',')
    .add(b'/')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Reads samples.
pub(super) struct MetricsClient {
    pub(super) client: Client,
    pub(super) discovery: Discovery,
}

impl MetricsClient {
    /// The values of one metric, for the pods of `selector` in the namespace.
    pub(super) async fn sample(
        &self,
        spec: &MetricSpec,
        namespace: &str,
        selector: &LabelSelector,
    ) -> Result<Sample, String> {
        if let Some(source) = &spec.resource {
            return self.resource(namespace, selector, &source.name, None).await;
        }
        if let Some(source) = &spec.container_resource {
            return self.resource(namespace, selector, &source.name, Some(&source.container)).await;
        }
        if let Some(source) = &spec.pods {
            return self.pods(namespace, selector, &source.metric).await;
        }
        if let Some(source) = &spec.object {
            return self.object(namespace, &source.described_object, &source.metric).await;
        }
        match &spec.external {
            Some(source) => self.external(namespace, &source.metric).await,
            None => Err(format!("unknown metric source type {:?}", spec.type_)),
        }
    }

    async fn resource(
        &self,
        namespace: &str,
        selector: &LabelSelector,
        resource: &str,
        container: Option<&str>,
    ) -> Result<Sample, String> {
        let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods");
        let path = with_query(path, &[("labelSelector", selector)]);
        let list: PodMetricsList = self
            .get(path, "get pods.metrics.k8s.io")
            .await
            .map_err(|why| format!("unable to fetch metrics from resource metrics API: {why}"))?;
        Ok(Sample::Pods(list.usage(resource, container)?))
    }

    async fn pods(
        &self,
        namespace: &str,
        selector: &LabelSelector,
        metric: &MetricIdentifier,
    ) -> Result<Sample, String> {
        let asked = async {
            let path = format!("{}/namespaces/{namespace}/pods/*/{}", self.custom().await?, escape(&metric.name));
            let mut query = vec![("labelSelector", selector)];
            let of_metric = selector_of(metric)?;
            if !of_metric.is_everything() {
                query.push(("metricLabelSelector", &of_metric));
            }
            self.get::<ValueList>(with_query(path, &query), &format!("get pods.{CUSTOM} *")).await
        };
        let list = asked.await.map_err(|why| format!("unable to fetch metrics from custom metrics API: {why}"))?;
        Ok(Sample::Pods(list.by_pod()?))
    }

    async fn object(
        &self,
        namespace: &str,
        object: &CrossVersionObjectReference,
        metric: &MetricIdentifier,
    ) -> Result<Sample, String> {
        let asked = async {
            let base = self.custom().await?;
            let name = escape(&metric.name);
            let path = match self.group_resource(object).await?.as_str() {
                // The autoscaler's own namespace, whatever is named: nothing reaches out of it.
                "namespaces" => format!("{base}/namespaces/{namespace}/metrics/{name}"),
                resource => format!("{base}/namespaces/{namespace}/{resource}/{}/{name}", escape(&object.name)),
            };
            let of_metric = selector_of(metric)?;
            let query: &[_] = if of_metric.is_everything() { &[] } else { &[("metricLabelSelector", &of_metric)] };
            self.get::<ValueList>(with_query(path, query), &format!("get {}.{CUSTOM} {}", metric.name, object.name))
                .await?
                .single()
        };
        let value = asked.await.map_err(|why| format!("unable to fetch metrics from custom metrics API: {why}"))?;
        Ok(Sample::Total(value))
    }

    async fn external(&self, namespace: &str, metric: &MetricIdentifier) -> Result<Sample, String> {
        let base = "/apis/external.metrics.k8s.io/v1beta1";
        let path = format!("{base}/namespaces/{namespace}/{}", escape(&metric.name));
        let of_metric = selector_of(metric)?;
        let query: &[_] = if of_metric.is_everything() { &[] } else { &[("labelSelector", &of_metric)] };
        let list: ValueList = self
            .get(with_query(path, query), &format!("get {}.external.metrics.k8s.io", metric.name))
            .await
            .map_err(|why| format!("unable to fetch metrics from external metrics API: {why}"))?;
        Ok(Sample::Total(list.total()?))
    }

    /// Where the custom metrics API is.
    async fn custom(&self) -> Result<String, String> {
        let group: Result<APIGroup, _> = self.get(format!("/apis/{CUSTOM}"), "get").await;
        let served = group.map(|group| group.versions).unwrap_or_default();
        let version = CUSTOM_VERSIONS.iter().find(|known| served.iter().any(|version| version.version == **known));
        let version = version.ok_or_else(|| format!("no custom metrics API ({CUSTOM}) registered"))?;
        Ok(format!("/apis/{CUSTOM}/{version}"))
    }

    /// `services`, `ingresses.networking.k8s.io`.
    async fn group_resource(&self, object: &CrossVersionObjectReference) -> Result<String, String> {
        let version = object.api_version.as_deref().unwrap_or_default();
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let served = self.discovery.served().await.map_err(|error| pods::message(&error))?;
        let found = served.resources.iter().find(|known| known.group == group && known.kind == object.kind);
        found.map(|known| known.group_resource()).ok_or_else(|| {
            format!(
                "unable to map kind {} to resource: no matches for kind \"{}\" in group \"{group}\"",
                object.kind, object.kind
            )
        })
    }

    /// `what` is the verb and the resource, as client-go names them where nobody serves the path.
    async fn get<T: DeserializeOwned>(&self, path: String, what: &str) -> Result<T, String> {
        let request = http::Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
        self.client.request(request).await.map_err(|error| match &error {
            kube::Error::Api(status)
                if status.code == 404 && status.details.as_ref().is_none_or(|d| d.name.is_empty()) =>
            {
                format!("the server could not find the requested resource ({what})")
            }
            error => pods::message(error),
        })
    }
}

fn escape(segment: &str) -> String {
    utf8_percent_encode(segment, ESCAPED).to_string()
}

fn with_query(mut path: String, query: &[(&str, &LabelSelector)]) -> String {
    for (index, (name, selector)) in query.iter().enumerate() {
        let separator = if index == 0 { '?' } else { '&' };
        // Writing to a string can't fail.
        let _ = write!(path, "{separator}{name}={}", escape(&selector.to_string()));
    }
    path
}

/// The selector of a metric; without one everything.
fn selector_of(metric: &MetricIdentifier) -> Result<LabelSelector, String> {
    let Some(selector) = &metric.selector else { return Ok(LabelSelector::everything()) };
    let value = serde_json::to_value(selector).map_err(|error| error.to_string())?;
    LabelSelector::from_object(&value).map_err(|error| error.to_string())
}
