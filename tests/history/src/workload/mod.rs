//! What the clients do: writers that create, change, remove and read a few objects, and watchers that follow all of them.
//!
//! All of them go on whatever happens: a request that is not answered is recorded as such, a watch that ends is begun again
//! after what it saw last, one that is too old from a list.

mod api;
mod watcher;
mod writer;

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use component_base::rng;
use testkit::checker::{At, Call, Expected, Outcome};
use tokio::{sync::watch, task::JoinSet, time::Instant};

use self::{api::Api, watcher::Watcher, writer::Writer};
use crate::Recorder;

/// How long anything may take to work again once all faults are over.
const RECOVERY: Duration = Duration::from_secs(60);
/// The object that is written last.
const LAST: &str = "cm-last";

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub writers: usize,
    pub watchers: usize,
    /// Of each writer.
    pub operations: usize,
    /// How many objects there are: few, so that writers meet.
    pub keys: u64,
    /// Between two operations of a writer, at most.
    pub pause: Duration,
}

/// Runs clients against the servers (any of them answers for all) while `faults` happen, until all of the clients are done and every
/// watch has seen the last write.
///
/// # Errors
/// If something does not work again after the faults, or a server answers what it never should.
pub async fn run(
    servers: &[kube::Client],
    plan: Plan,
    recorder: &Recorder,
    faults: impl Future<Output = Result<()>>,
) -> Result<()> {
    let apis = |name: &str| Arc::new(Api::new(name, servers, recorder));
    // Watches go on until they have seen this revision.
    let (until, until_rx) = watch::channel(u64::MAX);
    let mut watchers = JoinSet::new();
    for n in 0..plan.watchers {
        let watcher = Watcher::new(apis(&format!("watcher-{n}")), until_rx.clone());
        watchers.spawn(watcher.run());
    }
    let mut writers = JoinSet::new();
    for n in 0..plan.writers {
        writers.spawn(Writer::new(apis(&format!("writer-{n}")), plan).run());
    }
    faults.await?;
    while let Some(done) = writers.join_next().await {
        done??;
    }
    let last = write_last(&apis("end")).await?;
    until.send_replace(last);
    let seen = async {
        while let Some(done) = watchers.join_next().await {
            done??;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(RECOVERY, seen)
        .await
        .with_context(|| format!("a watch did not see the last write, {last}"))??;
    Ok(())
}

/// Writes until one write is acknowledged, then lists; the revision of the write.
async fn write_last(api: &Api) -> Result<u64> {
    let end = Instant::now() + RECOVERY;
    for n in 0.. {
        let key = format!("{LAST}-{n}");
        let call = Call::Put { value: format!("last-{n}"), expected: Expected::Absent };
        if let Outcome::Written { revision } = api.call(&key, call).await? {
            loop {
                if matches!(api.call("", Call::List(At::Newest)).await?, Outcome::Listed { .. }) {
                    return Ok(revision);
                }
                if Instant::now() > end {
                    bail!("lists do not work {RECOVERY:?} after the last fault");
                }
                pause(Duration::from_millis(200)).await;
            }
        }
        if Instant::now() > end {
            break;
        }
        pause(Duration::from_millis(200)).await;
    }
    bail!("writes do not work {RECOVERY:?} after the last fault")
}

/// Some time up to `most`.
async fn pause(most: Duration) {
    tokio::time::sleep(Duration::from_micros(rng::range(0..most.as_micros() as u64 + 1))).await;
}
