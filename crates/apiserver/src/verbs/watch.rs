//! Watch: events of a resource from a revision on, for as long as the client likes.
//!
//! Events come from the cache as shared bytes; this file decides what each watch sees of them (selectors turn changes into
//! additions and removals), and frames them. A watch ends at its timeout, when it lags, or with an ERROR event.

use std::{collections::VecDeque, pin::Pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{object_namespace, read::CATCH_UP};
use crate::{
    cache::{CacheEvent, Change, Crowd, Entry, Form, Room, Scope, Subscription, TooOld},
    codec,
    error::{Error, Result, too_new},
    model::{Resource, Stored},
    negotiate::{Accepted, Codec, Transform},
    options::{AtVersion, ListOptions},
    query::Query,
    respond,
    selector::Selector,
    server::{Body, BoxError, Call},
    table,
};

/// How often an idle watch hears how far the world has come.
const BOOKMARKS: Duration = Duration::from_secs(60);
/// Watches without a timeout of their own live between one and two of these.
const LIFETIME: u64 = 1800;
/// Frames are joined up to this size before they are handed to the connection.
const CHUNK: usize = 64 * 1024;
/// A watch that was just written to waits for more to go along: a lone event goes out at once, many go out together. It waits so long for each
/// watch with the same events, as that is about what writing to all of them takes ...
const SPACING: Duration = Duration::from_micros(50);
/// ... but no longer than this.
const MAX_SPACING: Duration = Duration::from_millis(25);

pub(super) async fn watch(call: Call) -> Result<Response<Body>> {
    let accepted = respond::negotiate(call.request.headers(), &call.query, true)?;
    let options = ListOptions::parse(&call.query, true)?;
    let resource = Arc::clone(&call.resource);
    let stored = resource.stored()?.clone();
    let selector = Selector::parse(&stored, &resource.format, &options.labels, &options.fields)?;
    let scope = Scope { namespace: object_namespace(&call).to_owned(), name: call.info.name.clone(), term: None };
    let mut scope = selector.narrow(scope);
    if stored.model.converter().is_some() {
        // What has to be converted shows what it has only then.
        scope.term = None;
    }
    let started = start(&call.core, &stored, &scope, &options).await?;
    let content_type = accepted.codec.stream_type();
    let lifetime = options.timeout_seconds.unwrap_or_else(|| LIFETIME + component_base::rng::range(0..LIFETIME));
    let encoder = Encoder { resource, stored, selector, accepted, query: call.query.clone(), columns_sent: false };
    let state = match started {
        Ok(subscription) => Stream::new(&call, encoder, subscription, &options, Duration::from_secs(lifetime)),
        Err(gone) => Stream::failed(&call, encoder, &gone),
    };
    let frames = futures::stream::unfold(state, |mut state| async move {
        let chunk = state.next_chunk().await?;
        Some((Ok::<_, BoxError>(Frame::data(chunk)), state))
    });
    let mut response = Response::new(StreamBody::new(frames.boxed()).boxed_unsync());
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    Ok(response)
}

/// Where the watch begins. The inner error is told inside the stream, as upstream does.
async fn start(
    core: &crate::server::Core,
    stored: &Stored,
    scope: &Scope,
    options: &ListOptions,
) -> Result<std::result::Result<Subscription, Error>> {
    if core.health.stopping().is_cancelled() {
        // A watch that ended at once would be begun again at once. Upstream's filter `WithRetryAfter` says so too.
        return Err(Error::too_many_requests("The apiserver is shutting down, please try again later.", 5));
    }
    let hub = &core.registry.hub;
    let initial = options.send_initial_events == Some(true);
    let from = match options.at {
        AtVersion::Newest => {
            hub.catch_up(CATCH_UP).await.map_err(|e| Error::timeout(e, 1))?;
            if options.send_initial_events == Some(false) { Some(stored.cache.revision()) } else { None }
        }
        AtVersion::Any if options.send_initial_events == Some(false) => Some(stored.cache.revision()),
        AtVersion::Any => None,
        AtVersion::NotOlderThan(revision) | AtVersion::Exact(revision) => {
            hub.wait_for(revision, CATCH_UP).await.map_err(|_| too_new(revision, hub.revision()))?;
            if initial { None } else { Some(revision) }
        }
    };
    let expired =
        |TooOld { requested, oldest }| Error::expired(format!("too old resource version: {requested} ({oldest})"));
    Ok(stored.cache.watch(scope, from).map_err(expired))
}

/// What goes out next.
struct Stream {
    encoder: Encoder,
    initial: VecDeque<Arc<Entry>>,
    backlog: VecDeque<Arc<CacheEvent>>,
    /// `None` after the watch has failed.
    events: Option<tokio::sync::mpsc::Receiver<Arc<CacheEvent>>>,
    crowd: Crowd,
    core: Arc<crate::server::Core>,
    /// The bookmark that ends the initial events, at this revision.
    initial_end: Option<u64>,
    bookmarks: bool,
    deadline: Instant,
    /// Goes off at the next bookmark or the deadline. Kept, as making a timer for each event costs more than the event.
    timer: Pin<Box<Sleep>>,
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
    /// When live events may go out again.
    not_before: Instant,
    /// Written before anything else.
    pending: BytesMut,
}

impl Stream {
    fn new(
        call: &Call,
        encoder: Encoder,
        subscription: Subscription,
        options: &ListOptions,
        lifetime: Duration,
    ) -> Stream {
        let now = Instant::now();
        let wants_end = options.send_initial_events == Some(true) && options.allow_bookmarks;
        let deadline = now + lifetime;
        Stream {
            encoder,
            initial: subscription.initial.into(),
            backlog: subscription.backlog.into(),
            events: Some(subscription.events),
            crowd: subscription.crowd,
            core: Arc::clone(&call.core),
            initial_end: wants_end.then_some(subscription.revision),
            bookmarks: options.allow_bookmarks,
            deadline,
            timer: Box::pin(sleep_until(deadline.min(now + BOOKMARKS))),
            stopping: Box::pin(call.core.health.stopping().cancelled_owned()),
            not_before: now,
            pending: BytesMut::new(),
        }
    }

    /// A stream that says why it can't be, and ends.
    fn failed(call: &Call, encoder: Encoder, error: &Error) -> Stream {
        let (_, events) = tokio::sync::mpsc::channel(1);
        let (initial, backlog, crowd) = (Vec::new(), Vec::new(), Crowd::default());
        let empty = Subscription { initial, backlog, events, crowd, revision: 0 };
        let options = ListOptions::parse(&Query::default(), true).expect("no options are valid options");
        let mut stream = Stream::new(call, encoder, empty, &options, BOOKMARKS);
        stream.fail(error);
        stream
    }

    fn fail(&mut self, error: &Error) {
        self.events = None;
        self.initial.clear();
        self.backlog.clear();
        self.initial_end = None;
        let status = error.to_status();
        let codec = self.encoder.accepted.codec;
        self.encoder.frame("ERROR", &codec::encode_status(codec, &status), &mut self.pending);
    }

    /// The next bytes; `None` ends the response.
    async fn next_chunk(&mut self) -> Option<Bytes> {
        loop {
            let live = self.initial.is_empty() && self.initial_end.is_none();
            self.convert().await;
            self.fill();
            if self.pending.is_empty() {
                self.wait().await?;
                continue;
            }
            if live && self.pending.len() < CHUNK && Instant::now() < self.not_before {
                sleep_until(self.not_before).await;
                self.convert().await;
                self.fill();
            }
            if live {
                let crowd = u32::try_from(self.crowd.size()).unwrap_or(u32::MAX);
                self.not_before = Instant::now() + MAX_SPACING.min(SPACING.saturating_mul(crowd));
            }
            return Some(self.pending.split().freeze());
        }
    }

    /// Waits for something to write; `None` when the watch is over.
    async fn wait(&mut self) -> Option<()> {
        let events = self.events.as_mut()?;
        tokio::select! {
            event = events.recv() => self.backlog.push_back(event?),
            () = &mut self.timer => {
                let now = Instant::now();
                if now >= self.deadline {
                    return None;
                }
                self.timer.as_mut().reset(self.deadline.min(now + BOOKMARKS));
                if self.bookmarks {
                    self.bookmark().await;
                }
            }
            () = &mut self.stopping => return None,
        }
        Some(())
    }

    /// Exchanges what is at hand for what this version shows of it, where that has to be asked for.
    async fn convert(&mut self) {
        let stored = &self.encoder.stored;
        if stored.model.converter().is_none() {
            return;
        }
        while let Some(event) = self.events.as_mut().and_then(|e| e.try_recv().ok()) {
            self.backlog.push_back(event);
        }
        let (initial, backlog) = (self.initial.iter().cloned().collect(), self.backlog.iter().cloned().collect());
        let shown = async { Ok((stored.shown(initial).await?, stored.shown_events(backlog).await?)) };
        match shown.await {
            Ok((initial, backlog)) => (self.initial, self.backlog) = (initial.into(), backlog.into()),
            Err(error) => self.fail(&error),
        }
    }

    /// An event that has just come; those that have to be converted go through the backlog.
    fn arrived(&mut self) -> Option<Arc<CacheEvent>> {
        let events = self.events.as_mut().filter(|_| self.encoder.stored.model.converter().is_none());
        events.and_then(|e| e.try_recv().ok())
    }

    /// Writes what is at hand into `pending`.
    fn fill(&mut self) {
        while self.pending.len() < CHUNK {
            let written = if let Some(entry) = self.initial.pop_front() {
                self.encoder.initial(&entry, &mut self.pending)
            } else if let Some(revision) = self.initial_end.take() {
                self.encoder.bookmark(revision, true, &mut self.pending)
            } else if let Some(event) = self.backlog.pop_front() {
                self.encoder.event(&event, &mut self.pending)
            } else if let Some(event) = self.arrived() {
                self.encoder.event(&event, &mut self.pending)
            } else {
                return;
            };
            if let Err(e) = written {
                self.fail(&e);
                return;
            }
        }
    }

    /// The revision is read first: everything up to it is then in the queue, and goes out before the bookmark.
    async fn bookmark(&mut self) {
        let revision = self.core.registry.hub.revision();
        self.convert().await;
        if self.events.is_none() {
            return;
        }
        while let Some(event) = self.backlog.pop_front().or_else(|| self.arrived()) {
            if let Err(e) = self.encoder.event(&event, &mut self.pending) {
                return self.fail(&e);
            }
        }
        if let Err(e) = self.encoder.bookmark(revision, false, &mut self.pending) {
            self.fail(&e);
        }
    }
}

/// Turns cache events into frames of one watch.
struct Encoder {
    resource: Arc<Resource>,
    stored: Stored,
    selector: Selector,
    accepted: Accepted,
    query: Query,
    /// Tables name their columns once.
    columns_sent: bool,
}

impl Encoder {
    fn initial(&mut self, entry: &Arc<Entry>, out: &mut BytesMut) -> Result<()> {
        if self.selector.matches(entry) { self.object("ADDED", entry, out) } else { Ok(()) }
    }

    fn event(&mut self, event: &CacheEvent, out: &mut BytesMut) -> Result<()> {
        let before = event.prev.as_deref().is_some_and(|e| self.selector.matches(e));
        let after = event.change == Change::Put && self.selector.matches(&event.entry);
        match (before, after) {
            (false, true) => self.object("ADDED", &event.entry, out),
            (true, true) => self.object("MODIFIED", &event.entry, out),
            (true, false) if event.change == Change::Delete => self.object("DELETED", &event.entry, out),
            // It no longer matches: this watch sees it leave as it last saw it, at the revision of the change.
            (true, false) => match &event.prev {
                Some(prev) => self.object("DELETED", &Arc::new(prev.removed_at(event.revision())), out),
                None => Ok(()),
            },
            (false, false) => Ok(()),
        }
    }

    fn object(&mut self, kind: &str, entry: &Arc<Entry>, out: &mut BytesMut) -> Result<()> {
        let codec = if self.accepted.codec == Codec::Yaml { Codec::Json } else { self.accepted.codec };
        let bytes = match &self.accepted.transform {
            Transform::None => {
                let bare = entry.bytes(Form::new(self.stored.version, codec), Room::Make)?;
                codec::frame(&self.resource.format, codec, bare)
            }
            _ => self.transformed(&entry.value(self.stored.version)?)?,
        };
        self.frame(kind, &bytes, out);
        Ok(())
    }

    fn transformed(&mut self, value: &Value) -> Result<Bytes> {
        match &self.accepted.transform {
            Transform::Partial { version } => codec::encode_partial(&self.accepted, &respond::partial(value, version)),
            Transform::Table { version } => {
                let meta = table::ListMeta::of_object(value);
                let mut table =
                    table::of_objects(&self.resource, std::slice::from_ref(value), version, &self.query, &meta)?;
                if self.columns_sent {
                    table["columnDefinitions"] = Value::Null;
                }
                self.columns_sent = true;
                codec::encode_json_value(&self.accepted, &table)
            }
            Transform::None => Err(Error::internal("no transformation was negotiated")),
        }
    }

    fn bookmark(&mut self, revision: u64, ends_initial: bool, out: &mut BytesMut) -> Result<()> {
        let mut metadata = json!({ "resourceVersion": revision.to_string(), "creationTimestamp": null });
        if ends_initial {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let mut object = json!({ "metadata": metadata });
        self.resource.format.stamp(&mut object);
        let bytes = match self.accepted.transform {
            Transform::None if self.resource.format.custom => Bytes::from(object.to_string()),
            Transform::None => codec::encode_minimal(&self.resource.format, self.accepted.codec, &object)?,
            _ => self.transformed(&object)?,
        };
        self.frame("BOOKMARK", &bytes, out);
        Ok(())
    }

    fn frame(&self, kind: &str, object: &[u8], out: &mut BytesMut) {
        codec::watch_frame(self.accepted.codec, kind, object, out);
    }
}
