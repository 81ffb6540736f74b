//! Workers: take keys from a queue, reconcile, decide what happens to the key.

use std::{fmt::Display, future::Future, panic::AssertUnwindSafe, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::WorkQueue;

/// Any error of a reconcile; it is logged and the key comes again, rate-limited.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What happens to a key after a successful reconcile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing until the next event.
    Done,
    /// Again after a time, without counting as a failure.
    RequeueAfter(Duration),
    /// Again with the queue's rate limit, without logging an error.
    RequeueRateLimited,
}

/// The result of a reconcile.
pub type Outcome = Result<Action, BoxError>;

/// Starts `workers` tasks on `tasks` that reconcile keys until `shutdown`. A reconcile that runs at shutdown is finished. A panic in
/// a reconcile is logged and counts as a failure of its key.
pub fn run_workers<K, F, Fut>(
    name: &'static str,
    queue: &WorkQueue<K>,
    workers: usize,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
    reconcile: F,
) where
    K: Ord + Clone + Display + Send + Sync + 'static,
    F: Fn(K) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Outcome> + Send + 'static,
{
    queue.report_as(name);
    for _ in 0..workers.max(1) {
        let reconcile = reconcile.clone();
        let boxed = Box::new(move |key| reconcile(key).boxed());
        tasks.spawn(work(name, queue.clone(), shutdown.clone(), boxed));
    }
    let (queue, shutdown) = (queue.clone(), shutdown.clone());
    tasks.spawn(async move {
        shutdown.cancelled().await;
        queue.shut_down();
    });
}

type Reconcile<K> = Box<dyn Fn(K) -> BoxFuture<'static, Outcome> + Send + Sync>;

async fn work<K>(name: &'static str, queue: WorkQueue<K>, shutdown: CancellationToken, reconcile: Reconcile<K>)
where
    K: Ord + Clone + Display + Send + Sync + 'static,
{
    while let Some(key) = queue.get().await {
        if shutdown.is_cancelled() {
            return;
        }
        let started = tokio::time::Instant::now();
        let result = match AssertUnwindSafe(async { reconcile(key.clone()).await }).catch_unwind().await {
            Ok(result) => result,
            Err(_) => Err("the reconcile panicked".into()),
        };
        queue.report_work(started.elapsed());
        match result {
            Ok(Action::Done) => queue.forget(&key),
            Ok(Action::RequeueAfter(delay)) => {
                queue.forget(&key);
                queue.add_after(key.clone(), delay);
            }
            Ok(Action::RequeueRateLimited) => queue.add_rate_limited(key.clone()),
            Err(error) if is_outdated(&error, queue.failures(&key)) => {
                tracing::debug!(controller = name, key = %key, "the object changed meanwhile");
                queue.add_rate_limited(key.clone());
            }
            Err(error) => {
                let (error, retries) = (in_short(&error), queue.failures(&key));
                tracing::warn!(controller = name, key = %key, error, retries, "reconcile failed");
                queue.add_rate_limited(key.clone());
            }
        }
        queue.done(&key);
    }
}

/// The API server's words where it is an answer of its: the whole status is too long for a log line.
fn in_short(error: &BoxError) -> String {
    match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) => status.message.clone(),
        _ => error.to_string(),
    }
}

/// A write met a newer object, or one that is gone: the event of that change is on its way. What stays missing is told after a few
/// attempts.
fn is_outdated(error: &BoxError, failures: u32) -> bool {
    let Some(kube::Error::Api(status)) = error.downcast_ref::<kube::Error>() else { return false };
    status.is_conflict() || (status.is_not_found() && failures < 3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    #[tokio::test(start_paused = true)]
    async fn failures_and_panics_come_again_and_success_ends() {
        let (queue, tasks, shutdown) = (WorkQueue::new(), TaskTracker::new(), CancellationToken::new());
        let runs = Arc::new(AtomicU32::new(0));
        let seen = runs.clone();
        run_workers("test", &queue, 2, &tasks, &shutdown, move |_: u8| {
            let run = seen.fetch_add(1, Ordering::Relaxed);
            async move {
                match run {
                    0 => Err("no".into()),
                    1 => panic!("deliberate: the runner has to contain it"),
                    2 => Ok(Action::RequeueAfter(Duration::from_secs(5))),
                    _ => Ok(Action::Done),
                }
            }
        });
        queue.add(1);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(runs.load(Ordering::Relaxed), 4);
        assert_eq!(queue.failures(&1), 0);
        shutdown.cancel();
        tasks.close();
        tasks.wait().await;
    }
}
