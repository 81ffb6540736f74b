//! Deletes objects whose owners are gone; carries out foreground deletion and orphaning.
//!
//! The graph of all owners and dependents is kept from metadata watches on everything that discovery says can be deleted. The graph
//! only says what to look at: before anything is deleted, the object and its owners are read from the API server, so a stale or
//! incomplete graph cannot delete what still has an owner.

mod apply;
mod graph;
mod monitors;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use controller_runtime::{BoxError, WorkQueue};
use parking_lot::Mutex;

use crate::context::Context;

/// Finalizer of an owner whose dependents shall stay.
const ORPHAN: &str = "orphan";
/// Finalizer of an owner that waits for its dependents.
const FOREGROUND: &str = "foregroundDeletion";

/// The graph and what has to be looked at.
struct Collector {
    graph: Mutex<graph::Graph>,
    /// Uids of objects that may have to be deleted.
    deletions: WorkQueue<String>,
    /// Uids of owners whose dependents have to be let go.
    orphans: WorkQueue<String>,
}

impl Collector {
    fn add(&self, work: graph::Work) {
        work.delete.into_iter().for_each(|uid| self.deletions.add(uid));
        work.orphan.into_iter().for_each(|uid| self.orphans.add(uid));
    }
}

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    if !context.shared.config.garbage_collector {
        return Ok(());
    }
    let collector =
        Arc::new(Collector { graph: Mutex::default(), deletions: WorkQueue::new(), orphans: WorkQueue::new() });
    let worker = Arc::new(apply::Worker {
        client: context.client.clone(),
        discovery: context.shared.discovery.clone(),
        collector: collector.clone(),
    });
    monitors::start(context, collector.clone(), worker);
    Ok(())
}
