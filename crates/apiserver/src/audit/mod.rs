//! The audit log: who asked for what, and what came of it, as `audit.k8s.io/v1` events.
//!
//! [`policy`] decides how much is told of a request (pure); a [`Record`] gathers it while the request is on its way; the [`Sink`] writes it.
//! What runs for a request adds to its record by [`annotate`], without being handed it.

mod body;
pub mod log;
pub mod policy;
mod record;

use std::{future::Future, sync::Arc};

use bytes::Bytes;
use http::request::Parts;

use crate::{request_info::RequestInfo, user::UserInfo};

pub use policy::{Level, Policy, Stage};
pub(crate) use record::Record;

/// Takes events, each a line of JSON.
pub trait Sink: Send + Sync + 'static {
    /// Whether the event was taken: one that was not may refuse its request.
    fn write(&self, event: Bytes) -> bool;
}

/// Policy and sink of a server.
pub struct Auditor {
    pub policy: Policy,
    pub sink: Arc<dyn Sink>,
}

impl Auditor {
    /// The record of a request; `None` if nothing is told of it. `user` is nobody when authentication failed.
    pub(crate) fn begin(
        self: &Arc<Self>,
        request: &Parts,
        info: &Arc<RequestInfo>,
        user: Option<&UserInfo>,
        id: &str,
    ) -> Option<Arc<Record>> {
        let decision = policy::decide(&self.policy, info, user);
        if decision.level == Level::None {
            return None;
        }
        Some(Arc::new(Record::new(Arc::clone(&self.sink), decision, request, info, user, id)))
    }
}

tokio::task_local! {
    /// The record of the request that this task answers.
    static CURRENT: Arc<Record>;
}

/// Runs what answers a request, with its record at hand.
pub(crate) async fn within<T>(record: Option<Arc<Record>>, work: impl Future<Output = T>) -> T {
    match record {
        Some(record) => CURRENT.scope(record, work).await,
        None => work.await,
    }
}

/// Whether anything is told of the request that this task answers.
pub fn is_on() -> bool {
    CURRENT.try_with(|_| ()).is_ok()
}

/// Adds to the record of the request that this task answers, if there is one. What was said under a key stays.
pub fn annotate(key: &str, value: &str) {
    let _nobody_listens = CURRENT.try_with(|record| record.annotate(key, value));
}
