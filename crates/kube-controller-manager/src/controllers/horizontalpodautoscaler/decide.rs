//! From an autoscaler, its target's scale and what was measured to a new size and a status, with upstream's reasons and messages. Pure.

use std::sync::Arc;

use api_types::{
    k8s_openapi::{
        api::{
            autoscaling::v2::{
                HPAScalingRules, HorizontalPodAutoscaler, HorizontalPodAutoscalerBehavior,
                HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerSpec, HorizontalPodAutoscalerStatus,
                MetricStatus,
            },
            core::v1::Pod,
        },
        apimachinery::pkg::apis::meta::v1::Time,
        jiff::{SignedDuration, Timestamp},
    },
    quantity::Quantity,
};

use super::{
    calculator::{Situation, Tolerances},
    evaluate::{Evaluation, Failure, evaluate},
    limits::{Bounds, Memory, Why},
    metrics::Sample,
};
use crate::config::Autoscaling;

/// What is asked of a target's scale.
pub(super) struct Sizes {
    /// The wanted replicas.
    pub(super) spec: i32,
    /// The existing ones.
    pub(super) status: i32,
}

/// Whether the metrics matter.
#[derive(Debug, PartialEq)]
pub(super) enum Course {
    /// The target was scaled to nothing by hand.
    Disabled,
    /// The size is out of bounds: to this one, for a reason.
    Bound(i32, &'static str),
    /// They decide.
    Metrics,
}

/// An event to tell, a warning where `warning`.
#[derive(Debug, PartialEq)]
pub(super) struct Note {
    pub(super) warning: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Note {
    pub(super) fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self { warning: true, reason, message: message.into() }
    }
}

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Decision {
    /// The new size, and why.
    pub(super) rescale: Option<(i32, String)>,
    pub(super) notes: Vec<Note>,
}

/// A status in the making.
pub(super) struct Draft {
    pub(super) status: HorizontalPodAutoscalerStatus,
    /// The size that was wanted before.
    former_desired: i32,
    now: Timestamp,
}

impl Draft {
    pub(super) fn new(scaler: &HorizontalPodAutoscaler, now: Timestamp) -> Self {
        let status = scaler.status.clone().unwrap_or_default();
        Self { former_desired: status.desired_replicas, status, now }
    }

    pub(super) fn condition(&mut self, type_: &str, status: bool, reason: &str, message: impl Into<String>) {
        let status = if status { "True" } else { "False" };
        let all = self.status.conditions.get_or_insert_default();
        let index = all.iter().position(|condition| condition.type_ == type_).unwrap_or_else(|| {
            all.push(HorizontalPodAutoscalerCondition { type_: type_.to_owned(), ..Default::default() });
            all.len() - 1
        });
        let condition = &mut all[index];
        if condition.status != status {
            condition.last_transition_time = Some(Time(self.now));
        }
        condition.status = status.to_owned();
        condition.reason = Some(reason.to_owned());
        condition.message = Some(message.into());
    }

    fn why(&mut self, type_: &str, status: bool, (reason, message): Why) {
        self.condition(type_, status, reason, message);
    }

    /// The scale could not be read.
    pub(super) fn no_scale(&mut self, why: &str) -> Note {
        let message = format!("the HPA controller was unable to get the target's current scale: {why}");
        self.condition("AbleToScale", false, "FailedGetScale", message);
        Note::warning("FailedGetScale", why)
    }

    fn sizes(&mut self, current: i32, desired: i32, metrics: Option<Vec<MetricStatus>>) {
        self.status.current_replicas = Some(current);
        self.status.desired_replicas = desired;
        self.status.current_metrics = metrics;
    }

    /// The new size was written, or why it was not.
    pub(super) fn rescaled(&mut self, current: i32, desired: i32, reason: &str, result: Result<(), String>) -> Note {
        match result {
            Ok(()) => {
                let message = format!("the HPA controller was able to update the target scale to {desired}");
                self.condition("AbleToScale", true, "SucceededRescale", message);
                self.status.last_scale_time = Some(Time(self.now));
                let message = format!("New size: {desired}; reason: {reason}");
                Note { warning: false, reason: "SuccessfulRescale", message }
            }
            Err(error) => {
                let message = format!("the HPA controller was unable to update the target scale: {error}");
                self.condition("AbleToScale", false, "FailedUpdateScale", message);
                let metrics = self.status.current_metrics.take();
                self.sizes(current, self.former_desired, metrics);
                Note::warning("FailedRescale", format!("New size: {desired}; reason: {reason}; error: {error}"))
            }
        }
    }
}

/// Whether the metrics of this autoscaler have to be looked at.
pub(super) fn course(spec: &HorizontalPodAutoscalerSpec, current: i32) -> Course {
    match min(spec) {
        _ if current == 0 => Course::Disabled,
        _ if current > spec.max_replicas => {
            Course::Bound(spec.max_replicas, "Current number of replicas above Spec.MaxReplicas")
        }
        min if current < min => Course::Bound(min, "Current number of replicas below Spec.MinReplicas"),
        _ => Course::Metrics,
    }
}

fn min(spec: &HorizontalPodAutoscalerSpec) -> i32 {
    spec.min_replicas.unwrap_or(1)
}

/// How far from the target usage may be.
fn tolerances(behavior: Option<&HorizontalPodAutoscalerBehavior>, default: f64) -> Tolerances {
    let of = |rules: Option<&HPAScalingRules>| {
        let tolerance = rules.and_then(|rules| rules.tolerance.as_ref());
        tolerance.and_then(|text| text.0.parse::<Quantity>().ok()).map_or(default, |tolerance| tolerance.as_f64())
    };
    Tolerances {
        down: of(behavior.and_then(|behavior| behavior.scale_down.as_ref())),
        up: of(behavior.and_then(|behavior| behavior.scale_up.as_ref())),
    }
}

/// What is known when a decision is made.
pub(super) struct Facts<'a> {
    pub(super) namespace: &'a str,
    pub(super) spec: &'a HorizontalPodAutoscalerSpec,
    pub(super) sizes: Sizes,
    pub(super) pods: Vec<Arc<Pod>>,
    pub(super) settings: &'a Autoscaling,
    pub(super) now: Timestamp,
}

impl Facts<'_> {
    /// Decides without metrics: the size is out of bounds, or autoscaling is off.
    pub(super) fn decide_by_bounds(&self, course: &Course, draft: &mut Draft) -> Decision {
        let current = self.sizes.spec;
        match course {
            Course::Bound(desired, reason) => {
                draft.sizes(current, *desired, None);
                Decision { rescale: Some((*desired, (*reason).to_owned())), ..Decision::default() }
            }
            Course::Disabled | Course::Metrics => {
                let message = "scaling is disabled since the replica count of the target is zero";
                draft.condition("ScalingActive", false, "ScalingDisabled", message);
                draft.sizes(current, current, None);
                Decision::default()
            }
        }
    }

    /// The target's selector is of no use.
    pub(super) fn refuse_selector(&self, reason: &'static str, why: String, draft: &mut Draft) -> Decision {
        let (condition, message) = match reason {
            "SelectorRequired" => ("InvalidSelector", "the HPA target's scale is missing a selector".to_owned()),
            reason => (reason, why.clone()),
        };
        draft.condition("ScalingActive", false, condition, message);
        draft.sizes(self.sizes.spec, draft.former_desired, None);
        let notes = vec![Note::warning(reason, why.clone()), Note::warning("FailedComputeMetricsReplicas", why)];
        Decision { rescale: None, notes }
    }

    /// Decides by metrics. There is one sample, or why there is none, for each metric of the spec.
    pub(super) fn decide_by_metrics(
        &self,
        samples: Vec<Result<Sample, String>>,
        memory: &mut Memory,
        draft: &mut Draft,
    ) -> Decision {
        let current = self.sizes.spec;
        let (statuses, best, failures) = self.evaluate_all(samples);
        let mut decision = Decision::default();
        for failure in &failures {
            decision.notes.push(Note::warning(failure.reason, failure.message.clone()));
        }
        let wanted = best.as_ref().map(|(replicas, _)| *replicas).unwrap_or_default();
        if let Some(first) = failures.first()
            && (best.is_none() || wanted < current)
        {
            let message = format!("the HPA was unable to compute the replica count: {}", first.message);
            draft.condition("ScalingActive", false, first.reason, message);
            draft.sizes(current, draft.former_desired, Some(statuses.clone()));
            let (failed, all) = (failures.len(), statuses.len());
            let message = format!("invalid metrics ({failed} invalid out of {all}), first error is: {}", first.error);
            decision.notes.push(Note::warning("FailedComputeMetricsReplicas", message));
            return decision;
        }
        let name = best.map(|(_, name)| name).unwrap_or_default();
        let message = format!("the HPA was able to successfully calculate a replica count from {name}");
        draft.condition("ScalingActive", true, "ValidMetricFound", message);
        let desired = self.limit(wanted, memory, draft);
        draft.sizes(current, desired, Some(statuses));
        if desired != current {
            // The reason is that of the recommendation; a stabilized one may lack it, as upstream's does.
            let reason = match wanted {
                wanted if wanted > current => format!("{name} above target"),
                wanted if wanted < current => "All metrics below target".to_owned(),
                _ => String::new(),
            };
            decision.rescale = Some((desired, reason));
        }
        decision
    }

    /// The statuses of all metrics, the highest proposal with its metric's name, and what failed.
    fn evaluate_all(
        &self,
        samples: Vec<Result<Sample, String>>,
    ) -> (Vec<MetricStatus>, Option<(i32, String)>, Vec<Failure>) {
        let seconds = |duration: std::time::Duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        let situation = Situation {
            namespace: self.namespace,
            spec_replicas: self.sizes.spec,
            status_replicas: self.sizes.status,
            pods: &self.pods,
            tolerances: tolerances(self.spec.behavior.as_ref(), self.settings.tolerance),
            cpu_initialization: seconds(self.settings.cpu_initialization_period),
            readiness_delay: seconds(self.settings.initial_readiness_delay),
            now: self.now,
        };
        let (mut statuses, mut failures) = (Vec::new(), Vec::new());
        let mut best: Option<(i32, String)> = None;
        for (spec, sample) in self.spec.metrics.iter().flatten().zip(samples) {
            match evaluate(&situation, spec, sample) {
                Ok(Evaluation { replicas, name, status }) => {
                    statuses.push(status);
                    // The first of nothing may be replaced by another that asks for nothing, as upstream's loop does.
                    if best.as_ref().is_none_or(|(most, _)| *most == 0 || replicas > *most) {
                        best = Some((replicas, name));
                    }
                }
                Err(failure) => {
                    statuses.push(MetricStatus::default());
                    failures.push(failure);
                }
            }
        }
        (statuses, best, failures)
    }

    fn limit(&self, wanted: i32, memory: &mut Memory, draft: &mut Draft) -> i32 {
        let window = SignedDuration::try_from(self.settings.downscale_stabilization).unwrap_or(SignedDuration::MAX);
        let bounds = Bounds {
            current: self.sizes.spec,
            min: min(self.spec),
            max: self.spec.max_replicas,
            behavior: self.spec.behavior.as_ref(),
            downscale_window: window,
            now: self.now,
        };
        let limited = memory.limit(&bounds, wanted);
        let ready = ("ReadyForNewScale", "recommended size matches current size");
        draft.why("AbleToScale", true, limited.stabilized.unwrap_or(ready));
        draft.why("ScalingLimited", limited.is_limited, limited.range);
        limited.replicas
    }
}
