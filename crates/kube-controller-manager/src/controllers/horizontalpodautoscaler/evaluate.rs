//! What each metric of a spec asks for, with upstream's names, statuses and messages. Pure.

use api_types::{
    k8s_openapi::{
        api::autoscaling::v2::{
            ContainerResourceMetricStatus, ExternalMetricStatus, MetricSpec, MetricStatus, MetricTarget,
            MetricValueStatus, ObjectMetricStatus, PodsMetricStatus, ResourceMetricStatus,
        },
        apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::LabelSelector},
    },
    quantity::{self, Format},
};
use component_helpers::quantity::milli_value;

use super::{
    calculator::{Proposal, Situation},
    metrics::{PodMetrics, Sample},
};

/// What one metric asks for.
#[derive(Debug, PartialEq)]
pub(super) struct Evaluation {
    pub(super) replicas: i32,
    /// What it is called in the reason of a change.
    pub(super) name: String,
    pub(super) status: MetricStatus,
}

/// Why a metric asks for nothing.
#[derive(Debug, PartialEq)]
pub(super) struct Failure {
    /// The reason of the condition and of the event.
    pub(super) reason: &'static str,
    /// What the condition and the event say.
    pub(super) message: String,
    /// The whole error, as the sum over all metrics names it.
    pub(super) error: String,
}

/// The current value, and what was asked for.
type Measured = (i32, MetricValueStatus);

const NO_RESOURCE_TARGET: &str =
    "invalid resource metric source: neither an average utilization target nor an average value (usage) target was set";

/// Evaluates a metric with what was measured, or with why it was not.
pub(super) fn evaluate(
    situation: &Situation<'_>,
    spec: &MetricSpec,
    sample: Result<Sample, String>,
) -> Result<Evaluation, Failure> {
    match spec.type_.as_str() {
        "Resource" => resource(situation, spec, sample),
        "ContainerResource" => container_resource(situation, spec, sample),
        "Pods" => pods(situation, spec, sample),
        "Object" => object(situation, spec, sample),
        "External" => external(situation, spec, sample),
        other => {
            let message = format!("unknown metric source type {other:?}");
            Err(Failure { reason: "InvalidMetricSourceType", error: message.clone(), message })
        }
    }
}

fn resource(
    situation: &Situation<'_>,
    spec: &MetricSpec,
    sample: Result<Sample, String>,
) -> Result<Evaluation, Failure> {
    let source = spec.resource.clone().unwrap_or_default();
    let name = source.name;
    let (replicas, current, metric) =
        of_resource(situation, &name, None, &source.target, sample).map_err(|message| Failure {
            reason: "FailedGetResourceMetric",
            error: format!("failed to get {name} resource metric value: {message}"),
            message,
        })?;
    let status = MetricStatus {
        type_: spec.type_.clone(),
        resource: Some(ResourceMetricStatus { name, current }),
        ..MetricStatus::default()
    };
    Ok(Evaluation { replicas, name: metric, status })
}

fn container_resource(
    situation: &Situation<'_>,
    spec: &MetricSpec,
    sample: Result<Sample, String>,
) -> Result<Evaluation, Failure> {
    let source = spec.container_resource.clone().unwrap_or_default();
    let (name, container) = (source.name, source.container);
    let (replicas, current, metric) =
        of_resource(situation, &name, Some(&container), &source.target, sample).map_err(|message| Failure {
            reason: "FailedGetContainerResourceMetric",
            error: format!("failed to get {container} container metric value: {message}"),
            message,
        })?;
    let status = MetricStatus {
        type_: spec.type_.clone(),
        container_resource: Some(ContainerResourceMetricStatus { name, container, current }),
        ..MetricStatus::default()
    };
    Ok(Evaluation { replicas, name: metric, status })
}

fn of_resource(
    situation: &Situation<'_>,
    name: &str,
    container: Option<&str>,
    target: &MetricTarget,
    sample: Result<Sample, String>,
) -> Result<(i32, MetricValueStatus, String), String> {
    let metrics = sample.and_then(by_pod).map_err(|why| format!("unable to get metrics for resource {name}: {why}"));
    if let Some(value) = &target.average_value {
        let proposal = metrics.and_then(|metrics| situation.by_average(&metrics, name, milli_value(value)));
        let Proposal { replicas, usage, .. } = proposal.map_err(|why| format!("failed to get {name} usage: {why}"))?;
        let current = MetricValueStatus { average_value: Some(amount(name, usage)), ..MetricValueStatus::default() };
        return Ok((replicas, current, format!("{name} resource")));
    }
    let Some(percent) = target.average_utilization else { return Err(NO_RESOURCE_TARGET.into()) };
    let proposal = metrics.and_then(|metrics| situation.by_utilization(&metrics, name, container, percent));
    let Proposal { replicas, usage, utilization } =
        proposal.map_err(|why| format!("failed to get {name} utilization: {why}"))?;
    let current =
        MetricValueStatus { average_utilization: utilization, average_value: Some(amount(name, usage)), value: None };
    let kind = if container.is_some() { "container resource" } else { "resource" };
    Ok((replicas, current, format!("{name} {kind} utilization (percentage of request)")))
}

fn pods(situation: &Situation<'_>, spec: &MetricSpec, sample: Result<Sample, String>) -> Result<Evaluation, Failure> {
    let source = spec.pods.clone().unwrap_or_default();
    let name = source.metric.name.clone();
    let target = source.target.average_value.as_ref().map(milli_value).unwrap_or_default();
    let metrics = sample.and_then(by_pod).map_err(|why| format!("unable to get metric {name}: {why}"));
    let proposal = metrics.and_then(|metrics| situation.by_average(&metrics, "", target));
    let Proposal { replicas, usage, .. } = proposal.map_err(|message| Failure {
        reason: "FailedGetPodsMetric",
        error: format!("failed to get pods metric value: {message}"),
        message,
    })?;
    let status = PodsMetricStatus { metric: source.metric, current: average(usage) };
    let status = MetricStatus { type_: spec.type_.clone(), pods: Some(status), ..MetricStatus::default() };
    Ok(Evaluation { replicas, name: format!("pods metric {name}"), status })
}

fn object(situation: &Situation<'_>, spec: &MetricSpec, sample: Result<Sample, String>) -> Result<Evaluation, Failure> {
    let source = spec.object.clone().unwrap_or_default();
    let (name, described) = (source.metric.name.clone(), source.described_object.clone());
    let failure = |message: String, inner: Option<String>| {
        let error = format!("failed to get object metric value: {}", inner.as_ref().unwrap_or(&message));
        Failure { reason: "FailedGetObjectMetric", error, message }
    };
    let usage = sample.and_then(total).map_err(|why| {
        let (kind, object) = (&described.kind, &described.name);
        format!("unable to get metric {name} on {kind} {}/{object}: {why}", situation.namespace)
    });
    let target = &source.target;
    let (measured, metric): (Measured, String) = match (target.type_.as_str(), &target.value, &target.average_value) {
        ("Value", Some(value), _) => {
            let proposal = usage.and_then(|usage| situation.by_value(usage, milli_value(value)));
            let Proposal { replicas, usage, .. } = proposal.map_err(|message| failure(message, None))?;
            ((replicas, whole(usage)), format!("{} metric {name}", described.kind))
        }
        ("AverageValue", _, Some(value)) => {
            let proposal = usage.map(|usage| situation.by_share(usage, milli_value(value)));
            let Proposal { replicas, usage, .. } = proposal.map_err(|message| {
                let inner = format!("failed to get {name} object metric: {message}");
                failure(message, Some(inner))
            })?;
            (
                (replicas, average(usage)),
                format!("external metric {name}({})", go_selector(source.metric.selector.as_ref())),
            )
        }
        _ => {
            let why = "invalid object metric source: neither a value target nor an average value target was set";
            return Err(failure(why.into(), None));
        }
    };
    let (replicas, current) = measured;
    let status = ObjectMetricStatus { described_object: described, metric: source.metric, current };
    let status = MetricStatus { type_: spec.type_.clone(), object: Some(status), ..MetricStatus::default() };
    Ok(Evaluation { replicas, name: metric, status })
}

fn external(
    situation: &Situation<'_>,
    spec: &MetricSpec,
    sample: Result<Sample, String>,
) -> Result<Evaluation, Failure> {
    let source = spec.external.clone().unwrap_or_default();
    let (name, target) = (source.metric.name.clone(), &source.target);
    let failure = |inner: String, message: String| Failure {
        reason: "FailedGetExternalMetric",
        error: format!("failed to get {name} external metric value: {inner}"),
        message,
    };
    let selector = go_selector(source.metric.selector.as_ref());
    let usage = sample
        .and_then(total)
        .map_err(|why| format!("unable to get external metric {}/{name}/{selector}: {why}", situation.namespace));
    let (replicas, current) = match (&target.average_value, &target.value) {
        (Some(value), _) => {
            let usage = usage.map_err(|why| failure(format!("failed to get {name} external metric: {why}"), why))?;
            let proposal = situation.by_share(usage, milli_value(value));
            (proposal.replicas, average(proposal.usage))
        }
        (None, Some(value)) => {
            let proposal = usage.and_then(|usage| situation.by_value(usage, milli_value(value)));
            let proposal =
                proposal.map_err(|why| failure(format!("failed to get external metric {name}: {why}"), why))?;
            (proposal.replicas, whole(proposal.usage))
        }
        (None, None) => {
            let why = "invalid external metric source: neither a value target nor an average value target was set";
            return Err(failure(why.into(), why.into()));
        }
    };
    let metric = format!("external metric {name}({selector})");
    let status = ExternalMetricStatus { metric: source.metric, current };
    let status = MetricStatus { type_: spec.type_.clone(), external: Some(status), ..MetricStatus::default() };
    Ok(Evaluation { replicas, name: metric, status })
}

fn by_pod(sample: Sample) -> Result<PodMetrics, String> {
    match sample {
        Sample::Pods(metrics) => Ok(metrics),
        Sample::Total(_) => Err("the metric has no values of pods".into()),
    }
}

fn total(sample: Sample) -> Result<i64, String> {
    match sample {
        Sample::Total(value) => Ok(value),
        Sample::Pods(_) => Err("the metric has values of pods only".into()),
    }
}

fn average(usage: i64) -> MetricValueStatus {
    MetricValueStatus { average_value: Some(decimal(usage)), ..MetricValueStatus::default() }
}

fn whole(usage: i64) -> MetricValueStatus {
    MetricValueStatus { value: Some(decimal(usage)), ..MetricValueStatus::default() }
}

fn decimal(millis: i64) -> Quantity {
    Quantity(quantity::Quantity::from_millis(millis).to_string())
}

/// Memory in powers of two, as the metrics server has it.
fn amount(resource: &str, millis: i64) -> Quantity {
    match resource == "memory" && millis % 1000 == 0 {
        true => Quantity(quantity::Quantity::from_units(millis / 1000, Format::BinarySi).to_string()),
        false => decimal(millis),
    }
}

/// A selector as Go prints it, which messages show.
fn go_selector(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else { return "nil".into() };
    let labels = selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}: {value},"));
    let labels: String = labels.collect();
    let expressions = selector.match_expressions.iter().flatten().map(|e| {
        let values = e.values.as_deref().unwrap_or_default().join(" ");
        format!("LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},", e.key, e.operator)
    });
    let expressions: String = expressions.collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},\
         MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}
