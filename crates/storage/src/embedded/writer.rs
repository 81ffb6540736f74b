//! Who carries out writes. In memory: the caller itself, under the lock. With a file: one thread that takes everything
//! that has queued up while the last fsync ran into the next transaction (group commit), and answers when it is durable.
//!
//! A compaction is a series of small ones at rising revisions, each complete and consistent by itself: one follows each
//! batch of writes, so no write waits for more than one, and a crash or an end in between leaves an earlier compaction mark.

use std::{sync::Arc, thread::JoinHandle, time::Duration};

use futures::FutureExt as _;
use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::{
    hub::Hub,
    journal::Journal,
    mvcc::{Batch, Write},
};
use crate::{Result, StoreError};

/// More than this many writes don't share a transaction, so that none waits long for the others.
const MAX_BATCH: usize = 512;
/// After a commit that several writers shared the next one waits so long for each of them, as they are likely to write again: a commit costs about
/// as much for many as for one ...
const GATHER: Duration = Duration::from_micros(100);
/// ... but no longer than this. A lone writer never waits.
const MAX_GATHER: Duration = Duration::from_millis(1);
/// How many records one step of a compaction looks at: a few milliseconds for the file.
const MAX_STEP: usize = 500;

pub(super) enum Op {
    Write(Write),
    Compact(u64),
}

pub(super) struct Request {
    op: Op,
    answer: Answer,
}

type Answer = oneshot::Sender<Result<u64>>;

pub(super) enum Writer {
    Memory(Arc<RwLock<Hub>>),
    File {
        /// `None` once closed.
        queue: Option<mpsc::Sender<Request>>,
        thread: Option<JoinHandle<()>>,
    },
    Task {
        queue: mpsc::Sender<Request>,
        _task: AbortOnDropHandle<()>,
    },
}

/// What works for a writer with a file.
struct Worker {
    journal: Journal,
    hub: Arc<RwLock<Hub>>,
    /// Compactions that are not done, to which revision each. They are one, to the highest.
    compactions: Vec<(u64, Answer)>,
    /// How many writes the last commit had.
    shared: usize,
    /// Whether this has a thread of its own, which may sleep.
    has_thread: bool,
}

// === impl Writer ===

impl Writer {
    pub(super) fn file(journal: Journal, hub: Arc<RwLock<Hub>>) -> Result<Self> {
        let (queue, requests) = mpsc::channel(4 * MAX_BATCH);
        let worker = Worker { journal, hub, compactions: Vec::new(), shared: 0, has_thread: true };
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || futures::executor::block_on(worker.work(requests)))
            .map_err(|error| StoreError::Unavailable(format!("starting the writer: {error}")))?;
        Ok(Self::File { queue: Some(queue), thread: Some(thread) })
    }

    /// As [`Writer::file`], but a task of the runtime does the work, so that a simulation has no second thread. For disks
    /// that don't keep it waiting.
    pub(super) fn task(journal: Journal, hub: Arc<RwLock<Hub>>) -> Self {
        let (queue, requests) = mpsc::channel(4 * MAX_BATCH);
        let worker = Worker { journal, hub, compactions: Vec::new(), shared: 0, has_thread: false };
        Self::Task { queue, _task: AbortOnDropHandle::new(tokio::spawn(worker.work(requests))) }
    }

    /// Carries out one operation; true and durable when it returns.
    pub(super) async fn run(&self, op: Op) -> Result<u64> {
        let queue = match self {
            Self::Memory(hub) => return run_in_memory(hub, op).await,
            Self::File { queue, .. } => queue.as_ref().ok_or_else(closed)?,
            Self::Task { queue, .. } => queue,
        };
        let (answer, answered) = oneshot::channel();
        queue.send(Request { op, answer }).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }

    /// Has history before `revision` forgotten, and does not wait for it where a worker does it. Failures are logged.
    pub(super) async fn begin_compaction(&self, revision: u64) {
        let op = Op::Compact(revision);
        let queue = match self {
            Self::Memory(hub) => return drop(run_in_memory(hub, op).await),
            Self::File { queue, .. } => queue.as_ref(),
            Self::Task { queue, .. } => Some(queue),
        };
        if let Some(queue) = queue
            && queue.send(Request { op, answer: oneshot::channel().0 }).await.is_err()
        {
            tracing::warn!("no compaction: the store is closed");
        }
    }
}

impl Drop for Writer {
    /// Waits for what was accepted: at most one fsync, and the file is free for the next to open it.
    fn drop(&mut self) {
        if let Self::File { queue, thread } = self {
            drop(queue.take());
            if let Some(thread) = thread.take()
                && thread.join().is_err()
            {
                tracing::error!("the store's writer panicked");
            }
        }
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}

async fn run_in_memory(hub: &RwLock<Hub>, op: Op) -> Result<u64> {
    match op {
        Op::Write(write) => {
            let mut hub = hub.write();
            let mut batch = Batch::new(&hub.state);
            let revision = batch.accept(&hub.state, write)?;
            hub.publish(&batch);
            Ok(revision)
        }
        Op::Compact(revision) => {
            while compact_in_memory(&mut hub.write(), revision) {
                tokio::task::yield_now().await;
            }
            Ok(revision)
        }
    }
}

/// One step; false when there was nothing to do.
fn compact_in_memory(hub: &mut Hub, revision: u64) -> bool {
    let Some(step) = hub.state.compactable(revision, MAX_STEP) else { return false };
    hub.compact(&step);
    true
}

// === impl Worker ===

impl Worker {
    /// Works until the queue is closed and empty, whether or not a compaction is done.
    async fn work(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut taken = Vec::with_capacity(MAX_BATCH);
        loop {
            let next = requests.recv_many(&mut taken, MAX_BATCH);
            let closed = if self.compactions.is_empty() {
                next.await == 0
            } else {
                let closed = next.now_or_never() == Some(0);
                // Where this is a task, the others of its thread go on between two steps.
                tokio::task::yield_now().await;
                closed
            };
            if closed {
                return;
            }
            if let Err(error) = self.recover() {
                self.refuse(taken.drain(..), &error);
                continue;
            }
            if !taken.is_empty() {
                self.gather(&mut requests, &mut taken);
                self.shared = taken.len();
                self.commit(taken.drain(..));
            }
            self.compact();
        }
    }

    /// Takes in what comes within a moment.
    fn gather(&self, requests: &mut mpsc::Receiver<Request>, taken: &mut Vec<Request>) {
        if !self.has_thread || self.shared < 2 {
            return;
        }
        #[expect(clippy::disallowed_methods, reason = "a thread of its own, without a runtime")]
        std::thread::sleep(MAX_GATHER.min(GATHER.saturating_mul(self.shared as u32)));
        while taken.len() < MAX_BATCH
            && let Ok(request) = requests.try_recv()
        {
            taken.push(request);
        }
    }

    /// Opens the file again after a failed commit (a full disk, a failed fsync). What of it turns out to be there is true from
    /// now on: its callers were told that this is possible.
    fn recover(&mut self) -> Result<()> {
        if !self.journal.is_broken() {
            return Ok(());
        }
        let current = self.hub.read().state.current();
        let records = self.journal.reopen(current)?;
        tracing::warn!(records = records.len(), "the file is open again after a failure");
        let batch = Batch::of_records(&self.hub.read().state, records);
        self.hub.write().publish(&batch);
        Ok(())
    }

    /// Carries out what has queued up. Only the worker changes the state, so what it read before the commit still holds
    /// after it.
    fn commit(&mut self, requests: impl Iterator<Item = Request>) {
        let mut outcomes = Vec::new();
        let batch = {
            let hub = self.hub.read();
            let mut batch = Batch::new(&hub.state);
            for Request { op, answer } in requests {
                match op {
                    Op::Compact(revision) => self.compactions.push((revision, answer)),
                    Op::Write(write) => outcomes.push((batch.accept(&hub.state, write), answer)),
                }
            }
            batch
        };
        let committed = match batch.is_empty() {
            true => Ok(()),
            false => self.journal.commit(&batch),
        };
        match committed {
            Ok(()) => {
                self.hub.write().publish(&batch);
                for (outcome, answer) in outcomes {
                    reply(answer, outcome);
                }
            }
            Err(error) => {
                tracing::error!(%error, "commit failed");
                // Refusals too: they may rest on a write of this batch, which is not true now.
                for (_, answer) in outcomes {
                    reply(answer, Err(StoreError::Unavailable(error.to_string())));
                }
            }
        }
    }

    /// The next step of what is to be forgotten, and the answers to those who asked for no more than is forgotten now.
    fn compact(&mut self) {
        let Some(target) = self.compactions.iter().map(|(revision, _)| *revision).max() else { return };
        let step = self.hub.read().state.compactable(target, MAX_STEP);
        if let Some(step) = step {
            if let Err(error) = self.journal.compact(&step) {
                return self.refuse(std::iter::empty(), &error);
            }
            self.hub.write().compact(&step);
        }
        let reached = self.hub.read().state.compacted();
        for (revision, answer) in self.compactions.extract_if(.., |(revision, _)| *revision <= reached) {
            reply(answer, Ok(revision));
        }
    }

    /// Tells everybody who waits that it can't be done.
    fn refuse(&mut self, requests: impl Iterator<Item = Request>, error: &StoreError) {
        if !self.compactions.is_empty() {
            tracing::warn!(%error, "compaction failed");
        }
        let compactions = self.compactions.drain(..).map(|(_, answer)| answer);
        for answer in compactions.chain(requests.map(|request| request.answer)) {
            reply(answer, Err(StoreError::Unavailable(error.to_string())));
        }
    }
}

/// Answers a caller; one that has gone away no longer wants to know.
fn reply(answer: oneshot::Sender<Result<u64>>, outcome: Result<u64>) {
    if answer.send(outcome).is_err() {
        tracing::trace!("the caller of a write has gone");
    }
}
