//! What a large compaction of the embedded store costs those who write meanwhile.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures::future::try_join_all;
use storage::{Revision, Store as _, embedded::Embedded};
use tokio::time::Instant;

use super::{milliseconds, record};

/// Keys that are written over and over.
const KEYS: usize = 500;
/// Writes before the compaction, one by one, to compare with.
const ALONE: usize = 300;

/// Forgets `records` revisions of a store in a new directory below `dir`, and prints how long writes take before and meanwhile.
pub(super) fn run(dir: &Path, records: u64) -> Result<()> {
    let place = tempfile::tempdir_in(dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = Arc::new(Embedded::open(place.path()).await?);
        let mut written = vec![Revision(0); KEYS];
        for round in 0..records.div_ceil(KEYS as u64) {
            written =
                try_join_all(written.iter().enumerate().map(|(n, before)| put(&store, n, round, *before))).await?;
        }
        let target = store.revision().await?;
        let mut alone = Vec::new();
        for n in 0..ALONE {
            alone.push(timed_put(&store, n).await?);
        }
        let begin = Instant::now();
        let compacting = tokio::spawn({
            let store = Arc::clone(&store);
            async move { store.compact(target).await.map(|()| begin.elapsed()) }
        });
        let mut meanwhile = Vec::new();
        while !compacting.is_finished() {
            meanwhile.push(timed_put(&store, ALONE + meanwhile.len()).await?);
        }
        let took = compacting.await.context("the compaction")??;
        println!("embedded store: {target} revisions forgotten in {:.2} s", took.as_secs_f64());
        print("writes before, one by one", alone);
        print("writes meanwhile, one by one", meanwhile);
        Ok(())
    })
}

async fn put(store: &Embedded, n: usize, round: u64, before: Revision) -> storage::Result<Revision> {
    store.put(&format!("/bench/{n}"), Bytes::from(record(round)), before, None).await
}

async fn timed_put(store: &Embedded, n: usize) -> Result<Duration> {
    let value = Bytes::from(record(n as u64));
    let begin = Instant::now();
    store.put(&format!("/timed/{n}"), value, Revision(0), None).await?;
    Ok(begin.elapsed())
}

fn print(what: &str, mut took: Vec<Duration>) {
    took.sort();
    let at = |share: usize| took.get(took.len().saturating_sub(1) * share / 100).copied().map_or(0.0, milliseconds);
    println!("{what}: {} of them, ms: p50 {:.1}, p99 {:.1}, longest {:.1}", took.len(), at(50), at(99), at(100));
}
