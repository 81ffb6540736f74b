//! Scales targets by metrics: reads the target's scale and what the metrics APIs say of its pods every sync period, writes the new
//! size and says in conditions and events why.

mod calculator;
mod client;
mod decide;
mod evaluate;
mod limits;
mod metrics;
mod scale;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use api_types::{
    k8s_openapi::api::{
        autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec},
        core::v1::Pod,
    },
    selector::LabelSelector,
};
use controller_runtime::{Action, BoxError, Event, EventRecorder, ObjectKey, Outcome, Store, WorkQueue};
use kube::{Api, ResourceExt, api::PostParams};
use parking_lot::Mutex;

use crate::{config::Config, context::Context, pods};
use client::MetricsClient;
use decide::{Course, Decision, Draft, Facts, Note, Sizes};
use limits::Memory;
use scale::Target;

struct Autoscalers {
    metrics: MetricsClient,
    recorder: EventRecorder,
    config: Arc<Config>,
    scalers: Store<HorizontalPodAutoscaler>,
    pods: Store<Pod>,
    /// What is remembered of each autoscaler. Only its own worker changes it.
    memories: Mutex<BTreeMap<ObjectKey, Memory>>,
    /// Which pods each autoscaler counts.
    selectors: Mutex<BTreeMap<ObjectKey, LabelSelector>>,
}

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let queue = WorkQueue::new();
    let config = context.shared.config.clone();
    let scalers = context.informer::<HorizontalPodAutoscaler>();
    let (on_scaler, period) = (queue.clone(), config.autoscaling.sync_period);
    scalers.on_event(move |event| {
        let key = ObjectKey::of(event.object().as_ref());
        match event {
            Event::Added(_) => on_scaler.add_after(key, period),
            Event::Updated { .. } => {}
            // What is remembered of it goes.
            Event::Deleted(_) => on_scaler.add(key),
        }
    });
    let controller = Arc::new(Autoscalers {
        metrics: MetricsClient { client: context.client.clone(), discovery: context.shared.discovery.clone() },
        recorder: context.recorder("horizontal-pod-autoscaler"),
        config,
        scalers: scalers.store().clone(),
        pods: context.informer::<Pod>().store().clone(),
        memories: Mutex::default(),
        selectors: Mutex::default(),
    });
    context.run(&queue, move |key| controller.clone().reconcile(key));
    Ok(())
}

impl Autoscalers {
    async fn reconcile(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let Some(scaler) = self.scalers.get(&key) else {
            self.memories.lock().remove(&key);
            self.selectors.lock().remove(&key);
            return Ok(Action::Done);
        };
        let mut draft = Draft::new(&scaler, component_base::clock::now());
        let notes = self.scale(&scaler, &key, &mut draft).await;
        if scaler.status.as_ref() != Some(&draft.status) {
            self.write_status(&scaler, &key, draft).await;
        }
        for note in notes {
            self.tell(&scaler, note);
        }
        // Errors too come again with the period, not faster: they are in the conditions.
        Ok(Action::RequeueAfter(self.config.autoscaling.sync_period))
    }

    fn tell(&self, scaler: &HorizontalPodAutoscaler, note: Note) {
        match note.warning {
            true => self.recorder.warning(scaler, note.reason, note.message),
            false => self.recorder.normal(scaler, note.reason, note.message),
        }
    }

    async fn write_status(&self, scaler: &HorizontalPodAutoscaler, key: &ObjectKey, draft: Draft) {
        let api = Api::<HorizontalPodAutoscaler>::namespaced(self.metrics.client.clone(), &key.namespace);
        let updated = HorizontalPodAutoscaler { status: Some(draft.status), ..scaler.clone() };
        if let Err(error) = api.replace_status(&key.name, &PostParams::default(), &updated).await {
            tracing::warn!(autoscaler = %key, %error, "could not write the status");
            self.tell(scaler, Note::warning("FailedUpdateStatus", pods::message(&error)));
        }
    }

    /// Does all but writing the status; what there is to tell.
    async fn scale(&self, scaler: &HorizontalPodAutoscaler, key: &ObjectKey, draft: &mut Draft) -> Vec<Note> {
        let spec = &scaler.spec;
        let MetricsClient { client, discovery } = &self.metrics;
        let mut target = match scale::read(client, discovery, &key.namespace, &spec.scale_target_ref).await {
            Ok(target) => target,
            Err(why) => return vec![draft.no_scale(&why)],
        };
        let message = "the HPA controller was able to get the target's current scale";
        draft.condition("AbleToScale", true, "SucceededGetScale", message);
        let current = target.replicas();
        let mut memory = self.memories.lock().get(key).cloned().unwrap_or_default();
        memory.start(current, component_base::clock::now());
        let Decision { rescale, mut notes } = self.decide(key, spec, &target, &mut memory, draft).await;
        if let Some((desired, reason)) = rescale {
            let written = target.resize(client, desired).await;
            if written.is_ok() {
                memory.scaled(current, desired, spec.behavior.as_ref(), component_base::clock::now());
            }
            notes.push(draft.rescaled(current, desired, &reason, written));
        }
        self.memories.lock().insert(key.clone(), memory);
        notes
    }

    async fn decide(
        &self,
        key: &ObjectKey,
        spec: &HorizontalPodAutoscalerSpec,
        target: &Target,
        memory: &mut Memory,
        draft: &mut Draft,
    ) -> Decision {
        let status = target.scale.status.clone().unwrap_or_default();
        let mut facts = Facts {
            namespace: &key.namespace,
            spec,
            sizes: Sizes { spec: target.replicas(), status: status.replicas },
            pods: Vec::new(),
            settings: &self.config.autoscaling,
            now: component_base::clock::now(),
        };
        let course = decide::course(spec, target.replicas());
        if course != Course::Metrics {
            return facts.decide_by_bounds(&course, draft);
        }
        let selector = match self.select(key, &status.selector.unwrap_or_default(), &mut facts.pods) {
            Ok(selector) => selector,
            Err((reason, why)) => return facts.refuse_selector(reason, why, draft),
        };
        let ask = |metric| self.metrics.sample(metric, &key.namespace, &selector);
        let samples = futures::future::join_all(spec.metrics.iter().flatten().map(ask)).await;
        facts.decide_by_metrics(samples, memory, draft)
    }

    /// The pods that the target's selector selects; they must be no other autoscaler's.
    fn select(
        &self,
        key: &ObjectKey,
        selector: &str,
        pods: &mut Vec<Arc<Pod>>,
    ) -> Result<LabelSelector, (&'static str, String)> {
        if selector.is_empty() {
            return Err(("SelectorRequired", "selector is required".into()));
        }
        let parsed: LabelSelector = selector.parse().map_err(|error| {
            let why = format!("couldn't convert selector into a corresponding internal selector object: {error}");
            ("InvalidSelector", why)
        })?;
        let matches =
            |selector: &LabelSelector, pod: &Pod| selector.matches_by(|key| pod.labels().get(key).map(String::as_str));
        *pods = self.pods.list_in(&key.namespace);
        pods.retain(|pod| matches(&parsed, pod));
        let mut selectors = self.selectors.lock();
        selectors.insert(key.clone(), parsed.clone());
        let others = selectors.iter().filter(|(other, _)| other.namespace == key.namespace);
        let selecting = others.filter(|(_, selector)| pods.iter().any(|pod| matches(selector, pod)));
        let selecting: Vec<_> =
            selecting.take(2).map(|(key, _)| format!("{{{} {}}}", key.name, key.namespace)).collect();
        if selecting.len() > 1 {
            let examples = selecting.join(" ");
            let why = format!("pods by selector {selector} are controlled by more than one HPA (e.g. [{examples}])");
            return Err(("AmbiguousSelector", why));
        }
        Ok(parsed)
    }
}
