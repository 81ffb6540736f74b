//! A watch of etcd as a [`WatchStream`].
//!
//! It is of all keys, whatever the prefix: so each revision comes by, in order, and says how far the watch is, without
//! etcd's answers to requests for progress, which overtake events (before 3.4.31 and 3.5.13; etcd's issues 15220, 17507).

use std::collections::VecDeque;

use etcd_client::{Event as EtcdEvent, EventType, WatchClient, WatchOptions, WatchResponse, WatchResponseStream};
use futures::StreamExt as _;

use super::{MAX_MESSAGE, failed, key_value, revision};
use crate::{Event, Result, Revision, StoreError, WatchStream};

struct Watch {
    prefix: String,
    responses: WatchResponseStream,
    ready: VecDeque<Event>,
    /// Everything up to here was handed out.
    reached: Revision,
    failed: bool,
}

pub(super) async fn watch(client: WatchClient, prefix: &str, after: Revision) -> Result<WatchStream> {
    let options = WatchOptions::new()
        .with_all_keys()
        .with_start_revision(after.0 as i64 + 1)
        .with_prev_key()
        .with_progress_notify();
    let mut client = client.max_decoding_message_size(MAX_MESSAGE);
    let responses = client.watch("", Some(options)).await.map_err(failed)?.split().1;
    let watch = Watch { prefix: prefix.to_owned(), responses, ready: VecDeque::new(), reached: after, failed: false };
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

    async fn receive(&mut self) -> Result<()> {
        let message = self.responses.message().await.map_err(failed)?;
        self.take(&message.ok_or_else(|| StoreError::Unavailable("etcd ended the watch".into()))?)
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
        let mut foreign = Revision(0);
        for event in message.events() {
            match event.kv() {
                Some(kv) if kv.key().starts_with(self.prefix.as_bytes()) => self.ready.extend(convert(event)?),
                Some(kv) => foreign = Revision(kv.mod_revision() as u64),
                None => {}
            }
        }
        // A message has all of a revision's events.
        if foreign > self.ready.back().map_or(Revision(0), Event::revision) {
            self.ready.push_back(Event::Progress(foreign));
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
