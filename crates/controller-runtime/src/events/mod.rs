//! The event recorder: what controllers tell users about objects.
//!
//! [`EventRecorder::event`] never waits: events go over a bounded channel (when full, the event is dropped and counted in the log) to one
//! task, which correlates them as upstream does and writes `core/v1` Events: a repeated event raises the count of the first, many
//! similar ones become one, a flood about one object is cut off.

mod correlator;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use api_types::k8s_openapi::{
    api::core::v1::{Event, EventSource as CoreSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time},
};
use futures::{StreamExt as _, stream::FuturesUnordered};
use kube::{
    Client,
    api::{Patch, PatchParams, PostParams},
};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use correlator::{Correlator, Same, Verdict};

/// How many events may wait to be written: as many as a burst of pods makes while the API server is busy with the pods.
const QUEUE: usize = 10_000;
/// How many are written at once.
const AT_ONCE: usize = 16;
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
        tasks.spawn(
            Writer { client, correlator: Correlator::default(), under_way: BTreeSet::new() }.run(receiver, shutdown),
        );
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

/// Decides what is written; the requests themselves run side by side, but never two about the same event.
struct Writer {
    client: Client,
    correlator: Correlator,
    /// What is being written now.
    under_way: BTreeSet<Same>,
}

type Done = (Same, Option<Written>);

impl Writer {
    async fn run(mut self, mut reports: mpsc::Receiver<Report>, shutdown: CancellationToken) {
        let mut requests = FuturesUnordered::new();
        let mut open = true;
        while open || !requests.is_empty() {
            let room = open && requests.len() < AT_ONCE;
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(done) = requests.next() => self.finish(done),
                report = reports.recv(), if room => match report {
                    None => open = false,
                    Some(report) => {
                        let now = component_base::clock::now();
                        let Verdict::Write { key, message, mut known } = self.correlator.observe(&report, now) else { continue };
                        while self.under_way.contains(&key) {
                            tokio::select! {
                                biased;
                                () = shutdown.cancelled() => return,
                                Some(done) = requests.next() => self.finish(done),
                            }
                            known = self.correlator.known(&key);
                        }
                        self.under_way.insert(key.clone());
                        requests.push(write(self.client.clone(), key, report, message, known, now));
                    }
                },
            }
        }
    }

    fn finish(&mut self, (key, written): Done) {
        self.under_way.remove(&key);
        self.correlator.wrote(key, written);
    }
}

async fn write(
    client: Client,
    key: Same,
    report: Report,
    message: String,
    known: Option<Written>,
    now: jiff::Timestamp,
) -> Done {
    for attempt in 0..WRITE_ATTEMPTS {
        if attempt > 0 {
            tokio::time::sleep(RETRY_DELAY).await;
        }
        let result = match &known {
            Some(known) => bump(&client, known, &message, now).await,
            None => Ok(None),
        };
        let result = match result {
            Ok(None) => create(&client, &report, &message, now).await.map(Some),
            result => result,
        };
        match result {
            Ok(written) => return (key, written),
            Err(kube::Error::Api(status)) => {
                tracing::debug!(%status, reason = %report.reason, "the API server refused an event");
                return (key, None);
            }
            Err(error) => tracing::debug!(%error, "could not write an event"),
        }
    }
    (key, None)
}

fn request(namespace: &str) -> kube::api::Request {
    kube::api::Request::new(<Event as kube::Resource>::url_path(&(), Some(namespace)))
}

/// Raises the count of an event that was written before; None when it is gone.
async fn bump(
    client: &Client,
    known: &Written,
    message: &str,
    now: jiff::Timestamp,
) -> Result<Option<Written>, kube::Error> {
    let patch = serde_json::json!({"count": known.count + 1, "lastTimestamp": Time(now), "message": message});
    let request = request(&known.namespace)
        .patch(&known.name, &PatchParams::default(), &Patch::Strategic(patch))
        .map_err(kube::Error::BuildRequest)?;
    // Nobody needs the answer's object.
    match client.request_text(request).await {
        Ok(_) => Ok(Some(Written { count: known.count + 1, ..known.clone() })),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

async fn create(client: &Client, report: &Report, message: &str, now: jiff::Timestamp) -> Result<Written, kube::Error> {
    let event = event_object(report, message, now);
    let written = Written {
        namespace: event.metadata.namespace.clone().unwrap_or_default(),
        name: event.metadata.name.clone().unwrap_or_default(),
        count: 1,
    };
    let body = serde_json::to_vec(&event).map_err(kube::Error::SerdeError)?;
    let request =
        request(&written.namespace).create(&PostParams::default(), body).map_err(kube::Error::BuildRequest)?;
    client.request_text(request).await?;
    Ok(written)
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

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use kube::client::Body;
    use parking_lot::Mutex;
    use tokio::time::Instant;

    use super::*;

    /// A server that takes a second for each request; what it was asked, in order.
    fn server(asked: Arc<Mutex<Vec<String>>>) -> Client {
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let asked = asked.clone();
            async move {
                let method = request.method().clone();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
                asked.lock().push(format!("{method} {} {}", body["message"].as_str().unwrap(), body["count"]));
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok::<_, std::io::Error>(http::Response::new(Body::from(b"{}".to_vec())))
            }
        });
        Client::new(service, "ns")
    }

    #[tokio::test(start_paused = true)]
    async fn different_events_are_written_at_once_and_equal_ones_counted() {
        let (tasks, asked, began) = (TaskTracker::new(), Arc::default(), Instant::now());
        let recorder =
            EventRecorder::new(server(Arc::clone(&asked)), EventSource::default(), &tasks, CancellationToken::new());
        let object = |name: &str| ObjectReference { name: Some(name.to_owned()), ..ObjectReference::default() };
        for n in 0..AT_ONCE {
            recorder.event(object(&format!("pod-{n}")), EventType::Normal, "Scheduled", "went");
        }
        for _ in 0..3 {
            recorder.event(object("pod"), EventType::Normal, "Scheduled", "again");
        }
        drop(recorder);
        tasks.close();
        tasks.wait().await;
        let asked = asked.lock().clone();
        assert_eq!(asked.iter().filter(|line| *line == "POST went 1").count(), AT_ONCE);
        assert_eq!(asked[AT_ONCE..], ["POST again 1", "PATCH again 2", "PATCH again 3"]);
        assert_eq!(began.elapsed().as_secs(), 4);
    }
}
