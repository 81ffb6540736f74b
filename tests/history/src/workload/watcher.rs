//! A client that follows everything.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Result, bail};
use bytes::{Buf, BytesMut};
use component_base::rng;
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;
use testkit::checker::{At, Call, Outcome, Seen};
use tokio::sync::watch;

use super::{
    api::{Api, OBJECTS, get, object, revision},
    pause,
};

pub(super) struct Watcher {
    api: Arc<Api>,
    /// It ends when it has seen this revision.
    until: watch::Receiver<u64>,
}

/// Why a stream ended.
enum End {
    /// Everything was seen.
    Done,
    /// It goes on after this revision.
    At(u64),
    /// It begins anew.
    Expired,
}

/// One line of a watch.
enum Line {
    Seen(Seen),
    /// The end of what was there at the beginning.
    InitialEnd(u64),
    Expired,
    Failed,
    /// Of an object that is not ours.
    Other(u64),
}

impl Watcher {
    pub(super) fn new(api: Arc<Api>, until: watch::Receiver<u64>) -> Self {
        Self { api, until }
    }

    pub(super) async fn run(mut self) -> Result<()> {
        'anew: loop {
            let streamed = rng::range(0..3) == 0;
            let begun = if streamed { self.stream_all().await? } else { self.list().await? };
            let Some(mut end) = begun else {
                self.api.move_on();
                pause(Duration::from_millis(200)).await;
                continue;
            };
            loop {
                match end {
                    End::Done => return Ok(()),
                    End::Expired => {
                        self.api.recorder.expired();
                        continue 'anew;
                    }
                    End::At(revision) => {
                        pause(Duration::from_millis(100)).await;
                        end = self.follow(revision).await?;
                    }
                }
            }
        }
    }

    /// Begins with a list.
    async fn list(&self) -> Result<Option<End>> {
        let at = if rng::range(0..3) == 0 { At::Any } else { At::Newest };
        match self.api.call("", Call::List(at)).await? {
            Outcome::Listed { revision, .. } => Ok(Some(End::At(revision))),
            _ => Ok(None),
        }
    }

    /// Begins with a watch that sends what is there.
    async fn stream_all(&mut self) -> Result<Option<End>> {
        let began = self.api.recorder.begin();
        let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
        let Some(mut lines) = Lines::open(&self.api, query).await? else { return Ok(None) };
        let mut items = BTreeMap::new();
        while let Some(line) = lines.next().await? {
            match line {
                Line::Seen(Seen::Added { key, revision, value }) => drop(items.insert(key, (revision, value))),
                Line::InitialEnd(revision) => {
                    let outcome = Outcome::Listed { revision, items };
                    self.api.recorder.end(&self.api.name, began, "", Call::List(At::Newest), outcome);
                    return self.read(&mut lines, revision).await.map(Some);
                }
                Line::Other(_) => {}
                Line::Expired | Line::Failed => break,
                Line::Seen(seen) => bail!("{}: {seen:?} among the initial events", self.api.name),
            }
        }
        Ok(None)
    }

    async fn follow(&mut self, after: u64) -> Result<End> {
        let seconds = rng::range(1..8);
        let query = format!("resourceVersion={after}&allowWatchBookmarks=true&timeoutSeconds={seconds}");
        match Lines::open(&self.api, &query).await? {
            Some(mut lines) => self.read(&mut lines, after).await,
            None => {
                self.api.move_on();
                Ok(End::At(after))
            }
        }
    }

    async fn read(&mut self, lines: &mut Lines, after: u64) -> Result<End> {
        let watch = self.api.recorder.watch(&self.api.name, after);
        let mut reached = after;
        loop {
            if reached >= *self.until.borrow_and_update() {
                return Ok(End::Done);
            }
            let line = tokio::select! {
                line = lines.next() => line?,
                // The stream stays as it is; only where it ends is another question now.
                Ok(()) = self.until.changed() => continue,
            };
            match line {
                Some(Line::Seen(seen)) => {
                    reached = reached.max(seen.revision());
                    self.api.recorder.saw(watch, seen);
                }
                Some(Line::Other(revision)) => reached = reached.max(revision),
                Some(Line::InitialEnd(_)) => bail!("{}: initial events were not asked for", self.api.name),
                Some(Line::Expired) => return Ok(End::Expired),
                Some(Line::Failed) | None => return Ok(End::At(reached)),
            }
        }
    }
}

/// The lines of an open watch.
struct Lines {
    body: Body,
    buffer: BytesMut,
    patience: Duration,
}

impl Lines {
    /// `None` if the server does not answer, or not now.
    async fn open(api: &Api, query: &str) -> Result<Option<Self>> {
        let Ok(response) = api.send(get(&format!("{OBJECTS}?watch=true&{query}"))?).await else { return Ok(None) };
        match response.status().as_u16() {
            200 => {}
            410 | 429 | 500.. => return Ok(None),
            code => bail!("{}: watch {query}: {code}", api.name),
        }
        // Longer than any watch asks for, so that a silent server is left at last.
        Ok(Some(Self { body: response.into_body(), buffer: BytesMut::new(), patience: Duration::from_secs(12) }))
    }

    /// The next line; `None` at the end, however it came.
    async fn next(&mut self) -> Result<Option<Line>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end);
                self.buffer.advance(1);
                return parse(&serde_json::from_slice(&line)?).map(Some);
            }
            match tokio::time::timeout(self.patience, self.body.frame()).await {
                Ok(Some(Ok(frame))) => self.buffer.extend(frame.into_data().ok()),
                _ => return Ok(None),
            }
        }
    }
}

fn parse(event: &Value) -> Result<Line> {
    let (kind, value) = (event["type"].as_str().unwrap_or_default(), &event["object"]);
    if kind == "ERROR" {
        return Ok(if value["code"] == 410 { Line::Expired } else { Line::Failed });
    }
    if kind == "BOOKMARK" {
        let end = value["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true";
        let revision = revision(value)?;
        return Ok(if end { Line::InitialEnd(revision) } else { Line::Seen(Seen::Bookmark(revision)) });
    }
    let Some((key, (revision, value))) = object(value)? else { return Ok(Line::Other(revision(value)?)) };
    Ok(Line::Seen(match kind {
        "ADDED" => Seen::Added { key, revision, value },
        "MODIFIED" => Seen::Modified { key, revision, value },
        "DELETED" => Seen::Deleted { key, revision, value },
        other => bail!("an event of type {other}"),
    }))
}
