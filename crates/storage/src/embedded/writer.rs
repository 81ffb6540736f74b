//! Who carries out writes. In memory: the caller itself, under the lock. With a file: one thread that takes everything
//! that has queued up while the last fsync ran into the next transaction (group commit), and answers when it is durable.

use std::{sync::Arc, thread::JoinHandle};

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

pub(super) enum Op {
    Write(Write),
    Compact(u64),
}

pub(super) struct Request {
    op: Op,
    answer: oneshot::Sender<Result<u64>>,
}

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

// === impl Writer ===

impl Writer {
    pub(super) fn file(mut journal: Journal, hub: Arc<RwLock<Hub>>) -> Result<Self> {
        let (queue, mut requests) = mpsc::channel(4 * MAX_BATCH);
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || {
                let mut taken = Vec::with_capacity(MAX_BATCH);
                while requests.blocking_recv_many(&mut taken, MAX_BATCH) > 0 {
                    commit(&mut journal, &hub, taken.drain(..));
                }
            })
            .map_err(|error| StoreError::Unavailable(format!("starting the writer: {error}")))?;
        Ok(Self::File { queue: Some(queue), thread: Some(thread) })
    }

    /// As [`Writer::file`], but a task of the runtime does the work, so that a simulation has no second thread. For disks
    /// that don't keep it waiting.
    pub(super) fn task(mut journal: Journal, hub: Arc<RwLock<Hub>>) -> Self {
        let (queue, mut requests) = mpsc::channel(4 * MAX_BATCH);
        let task = tokio::spawn(async move {
            let mut taken = Vec::with_capacity(MAX_BATCH);
            while requests.recv_many(&mut taken, MAX_BATCH).await > 0 {
                commit(&mut journal, &hub, taken.drain(..));
            }
        });
        Self::Task { queue, _task: AbortOnDropHandle::new(task) }
    }

    /// Carries out one operation; true and durable when it returns.
    pub(super) async fn run(&self, op: Op) -> Result<u64> {
        let queue = match self {
            Self::Memory(hub) => return run_in_memory(&mut hub.write(), op),
            Self::File { queue, .. } => queue.as_ref().ok_or_else(closed)?,
            Self::Task { queue, .. } => queue,
        };
        let (answer, answered) = oneshot::channel();
        queue.send(Request { op, answer }).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
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

fn run_in_memory(hub: &mut Hub, op: Op) -> Result<u64> {
    match op {
        Op::Write(write) => {
            let mut batch = Batch::new(&hub.state);
            let revision = batch.accept(&hub.state, write)?;
            hub.publish(&batch);
            Ok(revision)
        }
        Op::Compact(revision) => {
            let gone = hub.state.compactable(revision);
            hub.compact(revision, &gone);
            Ok(revision)
        }
    }
}

/// Carries out what has queued up. Only this thread changes the state, so what it read before the commit still holds
/// after it.
fn commit(journal: &mut Journal, hub: &RwLock<Hub>, requests: impl Iterator<Item = Request>) {
    if journal.is_broken()
        && let Err(error) = recover(journal, hub)
    {
        for Request { answer, .. } in requests {
            reply(answer, Err(StoreError::Unavailable(error.to_string())));
        }
        return;
    }
    let mut outcomes = Vec::new();
    let mut compactions = Vec::new();
    let batch = {
        let hub = hub.read();
        let mut batch = Batch::new(&hub.state);
        for Request { op, answer } in requests {
            match op {
                Op::Compact(revision) => compactions.push((revision, answer)),
                Op::Write(write) => outcomes.push((batch.accept(&hub.state, write), answer)),
            }
        }
        batch
    };
    let committed = match batch.is_empty() {
        true => Ok(()),
        false => journal.commit(&batch),
    };
    match committed {
        Ok(()) => {
            hub.write().publish(&batch);
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
    for (revision, answer) in compactions {
        reply(answer, compact(journal, hub, revision));
    }
}

/// Opens the file again after a failed commit (a full disk, a failed fsync). What of it turns out to be there is true from
/// now on: its callers were told that this is possible.
fn recover(journal: &mut Journal, hub: &RwLock<Hub>) -> Result<()> {
    let current = hub.read().state.current();
    let records = journal.reopen(current)?;
    tracing::warn!(records = records.len(), "the file is open again after a failure");
    let batch = Batch::of_records(&hub.read().state, records);
    hub.write().publish(&batch);
    Ok(())
}

fn compact(journal: &mut Journal, hub: &RwLock<Hub>, revision: u64) -> Result<u64> {
    let gone = hub.read().state.compactable(revision);
    journal.compact(revision, &gone)?;
    hub.write().compact(revision, &gone);
    Ok(revision)
}

/// Answers a caller; one that has gone away no longer wants to know.
fn reply(answer: oneshot::Sender<Result<u64>>, outcome: Result<u64>) {
    if answer.send(outcome).is_err() {
        tracing::trace!("the caller of a write has gone");
    }
}
