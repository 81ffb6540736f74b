//! The event recorder: what controllers tell users about objects.
//!
//! [`EventRecorder::event`] never waits: events go over a bounded channel (when full, the event is dropped and counted in the log) to one
//! task, which correlates them as upstream does and writes `core/v1` Events: a repeated event raises the count of the first, many
//! similar ones become one, a flood about one object is cut off.

mod correlator;

use std::{sync::Arc, time::Duration};

use api_types::k8s_openapi::{
    api::core::v1::{Event, EventSource as CoreSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use correlator::{Correlator, Verdict};

/// How many events may wait to be written.
const QUEUE: usize = 1000;
const WRITE_ATTEMPTS: usize = 12;
const RETRY_DELAY: Duration = Duration::from_secs(10);

/// Type of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventType {
    /// Information only.
    Normal,
    /// Something may be wrong.
    Warning,
}

impl EventType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Who reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventSource {
    /// The component (`deployment-controller`, `kubelet`).
    pub component: String,
    /// The node, for components that run on one.
    pub host: Option<String>,
}

/// An event on its way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    pub(crate) source: Arc<EventSource>,
    pub(crate) regarding: ObjectReference,
    pub(crate) related: Option<ObjectReference>,
    pub(crate) type_: EventType,
    pub(crate) reason: String,
    pub(crate) action: Option<String>,
    pub(crate) message: String,
}

/// Records events of one source. Cheap to clone; [`EventRecorder::with_component`] shares the channel and the correlation.
#[derive(Clone)]
pub struct EventRecorder {
    source: Arc<EventSource>,
    reports: mpsc::Sender<Report>,
}

impl EventRecorder {
    /// A recorder that writes through `client` in a task of `tasks` until `shutdown`.
    pub fn new(client: Client, source: EventSource, tasks: &TaskTracker, shutdown: CancellationToken) -> Self {
        let (reports, receiver) = mpsc::channel(QUEUE);
        tasks.spawn(Writer { client, correlator: Correlator::default() }.run(receiver, shutdown));
        Self { source: Arc::new(source), reports }
    }

    /// The same recorder for another component of the process.
    pub fn with_component(&self, component: &str) -> Self {
        let source = EventSource { component: component.to_owned(), host: self.source.host.clone() };
        Self { source: Arc::new(source), reports: self.reports.clone() }
    }

    /// Records an event about an object.
    pub fn event(&self, regarding: ObjectReference, type_: EventType, reason: &str, message: impl Into<String>) {
        self.send(regarding, None, type_, reason, None, message.into());
    }

    /// Records an event about an object and a second one, with the action that was taken (events.k8s.io's form).
    pub fn event_with_action(
        &self,
        regarding: ObjectReference,
        related: Option<ObjectReference>,
        type_: EventType,
        reason: &str,
        action: &str,
        message: impl Into<String>,
    ) {
        self.send(regarding, related, type_, reason, Some(action.to_owned()), message.into());
    }

    /// Records a `Normal` event about a typed object.
    pub fn normal<K: kube::Resource<DynamicType = ()>>(&self, object: &K, reason: &str, message: impl Into<String>) {
        self.event(reference(object), EventType::Normal, reason, message);
    }

    /// Records a `Warning` event about a typed object.
    pub fn warning<K: kube::Resource<DynamicType = ()>>(&self, object: &K, reason: &str, message: impl Into<String>) {
        self.event(reference(object), EventType::Warning, reason, message);
    }

    fn send(
        &self,
        regarding: ObjectReference,
        related: Option<ObjectReference>,
        type_: EventType,
        reason: &str,
        action: Option<String>,
        message: String,
    ) {
        let source = self.source.clone();
        let report = Report { source, regarding, related, type_, reason: reason.to_owned(), action, message };
        if let Err(error) = self.reports.try_send(report) {
            tracing::warn!(%error, "event dropped");
        }
    }
}

/// A reference to a typed object, as events carry it.
pub fn reference<K: kube::Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    ObjectReference { resource_version: object.meta().resource_version.clone(), ..object.object_ref(&()) }
}

struct Writer {
    client: Client,
    correlator: Correlator,
}

impl Writer {
    async fn run(mut self, mut reports: mpsc::Receiver<Report>, shutdown: CancellationToken) {
        loop {
            let report = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                report = reports.recv() => report,
            };
            let Some(report) = report else { return };
            let written = self.write(&report);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = written => {}
            }
        }
    }

    async fn write(&mut self, report: &Report) {
        let now = component_base::clock::now();
        let verdict = self.correlator.observe(report, now);
        let Verdict::Write { key, message, known } = verdict else { return };
        for attempt in 0..WRITE_ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(RETRY_DELAY).await;
            }
            let result = match &known {
                Some(known) => self.bump(known, &message, now).await,
                None => Ok(None),
            };
            let result = match result {
                Ok(None) => self.create(report, &message, now).await.map(Some),
                result => result,
            };
            match result {
                Ok(written) => return self.correlator.wrote(key, written),
                Err(kube::Error::Api(status)) => {
                    tracing::debug!(%status, reason = %report.reason, "the API server refused an event");
                    return;
                }
                Err(error) => tracing::debug!(%error, "could not write an event"),
            }
        }
    }

    /// Raises the count of an event that was written before; None when it is gone.
    async fn bump(&self, known: &Written, message: &str, now: jiff::Timestamp) -> Result<Option<Written>, kube::Error> {
        let patch = serde_json::json!({"count": known.count + 1, "lastTimestamp": Time(now), "message": message});
        let api = Api::<Event>::namespaced(self.client.clone(), &known.namespace);
        match api.patch(&known.name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Ok(_) => Ok(Some(Written { count: known.count + 1, ..known.clone() })),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn create(&self, report: &Report, message: &str, now: jiff::Timestamp) -> Result<Written, kube::Error> {
        let event = event_object(report, message, now);
        let written = Written {
            namespace: event.metadata.namespace.clone().unwrap_or_default(),
            name: event.metadata.name.clone().unwrap_or_default(),
            count: 1,
        };
        let api = Api::<Event>::namespaced(self.client.clone(), &written.namespace);
        api.create(&PostParams::default(), &event).await?;
        Ok(written)
    }
}

/// An event that the API server has.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Written {
    namespace: String,
    name: String,
    count: i32,
}

fn event_object(report: &Report, message: &str, now: jiff::Timestamp) -> Event {
    let regarding = &report.regarding;
    let namespace = regarding.namespace.clone().filter(|ns| !ns.is_empty()).unwrap_or_else(|| "default".to_owned());
    let name = format!("{}.{:x}", regarding.name.as_deref().unwrap_or_default(), now.as_nanosecond());
    Event {
        metadata: ObjectMeta { name: Some(name), namespace: Some(namespace), ..ObjectMeta::default() },
        involved_object: regarding.clone(),
        related: report.related.clone(),
        reason: Some(report.reason.clone()),
        action: report.action.clone(),
        message: Some(message.to_owned()),
        type_: Some(report.type_.as_str().to_owned()),
        source: Some(CoreSource { component: Some(report.source.component.clone()), host: report.source.host.clone() }),
        reporting_component: Some(report.source.component.clone()),
        reporting_instance: Some(report.source.host.clone().unwrap_or_default()),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        event_time: None::<MicroTime>,
        series: None,
    }
}
