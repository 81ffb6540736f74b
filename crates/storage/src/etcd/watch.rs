//! A watch of etcd as a [`WatchStream`]: one gRPC stream each, so that its progress reports speak of it alone.

use std::{collections::VecDeque, time::Duration};

use etcd_client::{
    Event as EtcdEvent, EventType, WatchClient, WatchOptions, WatchRequestSender, WatchResponse, WatchResponseStream,
};
use futures::StreamExt as _;
use tokio::sync::watch::Receiver;

use super::{MAX_MESSAGE, failed, key_value, revision};
use crate::{Event, Result, Revision, StoreError, WatchStream};

/// etcd drops a request for progress while a watch catches up; so it is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

struct Watch {
    requests: WatchRequestSender,
    responses: WatchResponseStream,
    ready: VecDeque<Event>,
    /// Everything up to here was handed out.
    reached: Revision,
    wanted: Receiver<u64>,
    failed: bool,
}

pub(super) async fn watch(
    client: WatchClient,
    prefix: &str,
    after: Revision,
    wanted: Receiver<u64>,
) -> Result<WatchStream> {
    let options = WatchOptions::new()
        .with_prefix()
        .with_start_revision(after.0 as i64 + 1)
        .with_prev_key()
        .with_progress_notify();
    let mut client = client.max_decoding_message_size(MAX_MESSAGE);
    let (requests, responses) = client.watch(prefix, Some(options)).await.map_err(failed)?.split();
    let watch = Watch { requests, responses, ready: VecDeque::new(), reached: after, wanted, failed: false };
    let stream = futures::stream::unfold(watch, |mut watch| async {
        let item = watch.next().await?;
        Some((item, watch))
    });
    Ok(stream.boxed())
}

// === impl Watch ===

impl Watch {
    async fn next(&mut self) -> Option<Result<Event>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.reached = self.reached.max(event.revision());
                return Some(Ok(event));
            }
            if self.failed {
                return None;
            }
            if let Err(error) = self.receive().await {
                self.failed = true;
                return Some(Err(error));
            }
        }
    }

    /// Waits for a message, or for somebody to ask for progress and then for the answer.
    async fn receive(&mut self) -> Result<()> {
        let behind = *self.wanted.borrow_and_update() > self.reached.0;
        if behind {
            self.requests.request_progress().await.map_err(failed)?;
        }
        tokio::select! {
            message = self.responses.message() => {
                let message = message.map_err(failed)?;
                let message = message.ok_or_else(|| StoreError::Unavailable("etcd ended the watch".into()))?;
                self.take(&message)
            }
            () = tokio::time::sleep(ASK_AGAIN), if behind => Ok(()),
            Ok(()) = self.wanted.changed() => Ok(()),
        }
    }

    fn take(&mut self, message: &WatchResponse) -> Result<()> {
        if message.compact_revision() > 0 {
            return Err(StoreError::Compacted {
                requested: self.reached,
                oldest: Revision(message.compact_revision() as u64),
            });
        }
        if message.canceled() {
            return Err(StoreError::Unavailable(format!("etcd cancelled the watch: {}", message.cancel_reason())));
        }
        for event in message.events() {
            self.ready.extend(convert(event)?);
        }
        if message.events().is_empty() && !message.created() {
            self.ready.push_back(Event::Progress(revision(message.header())?));
        }
        Ok(())
    }
}

fn convert(event: &EtcdEvent) -> Result<Option<Event>> {
    let Some(kv) = event.kv() else { return Ok(None) };
    let prev = event.prev_kv().map(key_value).transpose()?;
    match (event.event_type(), prev) {
        (EventType::Put, prev) => Ok(Some(Event::Put { kv: key_value(kv)?, prev })),
        (EventType::Delete, Some(prev)) => {
            Ok(Some(Event::Delete { prev, revision: Revision(kv.mod_revision() as u64) }))
        }
        // The value was compacted away before this watch came to it: what was deleted can't be told any more.
        (EventType::Delete, None) => {
            let at = Revision(kv.mod_revision() as u64);
            Err(StoreError::Compacted { requested: at, oldest: at })
        }
    }
}
