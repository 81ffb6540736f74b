//! `bench store`: the engines that could be under the embedded store, with what it asks of them: transactions of queued-up
//! writes, durable one by one; reading everything at start; forgetting old revisions. Then the embedded store itself: what its
//! compaction costs those who write.

mod compaction;
mod engines;

use std::{path::Path, time::Duration};

use anyhow::{Result, ensure};
use tokio::time::Instant;

use engines::{Engine, Fjall, Redb};

/// Bytes of a record: an object of the usual size.
const RECORD: usize = 2048;
/// Sizes of transactions, and how many of each are timed.
const BATCHES: [(u64, usize); 3] = [(1, 1000), (16, 300), (256, 60)];
/// The size of transactions where they are not what is measured: the most that share one in the store.
const FILL: u64 = 512;

/// One line of the table: what was measured, and the figure of an engine.
type Figures = Vec<(String, String)>;

/// Measures in new directories below `dir`, which should be on the disk that matters, with `records` for the start and the
/// compaction.
pub(crate) fn run(dir: &Path, records: u64) -> Result<()> {
    let redb = measure::<Redb>(dir, records)?;
    let fjall = measure::<Fjall>(dir, records)?;
    println!("{:<44} {:>20} {:>20}", "", Redb::NAME, Fjall::NAME);
    for ((what, ours), (_, other)) in redb.iter().zip(&fjall) {
        println!("{what:<44} {ours:>20} {other:>20}");
    }
    compaction::run(dir, records)
}

fn measure<E: Engine>(dir: &Path, records: u64) -> Result<Figures> {
    let place = tempfile::tempdir_in(dir)?;
    let mut figures = Figures::new();
    let mut engine = E::open(&place.path().join("batches"))?;
    let mut revision = 0;
    for (size, times) in BATCHES {
        let mut took = Vec::with_capacity(times);
        for _ in 0..times {
            let batch = batch(revision, size);
            took.push(timed(|| engine.commit(&batch))?.1);
            revision += size;
        }
        took.sort();
        let (median, worst) = (milliseconds(took[times / 2]), milliseconds(took[times * 99 / 100]));
        figures.push((format!("transaction of {size}, ms: p50, p99"), format!("{median:.2}, {worst:.2}")));
    }
    drop(engine);

    let path = place.path().join("store");
    let mut engine = E::open(&path)?;
    let (_, filling) = timed(|| fill(&mut engine, 0, records))?;
    figures.push((format!("{records} records, by {FILL}: s"), format!("{:.2}", filling.as_secs_f64())));
    drop(engine);
    figures.push((format!("{records} records, closed: MiB"), mebibytes(disk_usage(&path)?)));
    let ((mut engine, found), start) = timed(|| {
        let engine = E::open(&path)?;
        let found = engine.scan()?;
        Ok((engine, found))
    })?;
    ensure!(found == (records, records * RECORD as u64), "{} lost records: {found:?}", E::NAME);
    figures.push((format!("open and read {records} records: s"), format!("{:.2}", start.as_secs_f64())));

    fill(&mut engine, records, records)?;
    let (_, compaction) = timed(|| engine.forget(0..records))?;
    figures.push((format!("forget {records} of {}: s", 2 * records), format!("{:.2}", compaction.as_secs_f64())));
    fill(&mut engine, 2 * records, FILL)?;
    drop(engine);
    figures.push(("after that, closed: MiB".into(), mebibytes(disk_usage(&path)?)));
    let ((count, _), start) = timed(|| E::open(&path)?.scan())?;
    ensure!(count == records + FILL, "{} has {count} records after the compaction", E::NAME);
    figures.push(("after that, open and read: s".into(), format!("{:.2}", start.as_secs_f64())));
    Ok(figures)
}

fn fill(engine: &mut impl Engine, first: u64, count: u64) -> Result<()> {
    let mut next = first;
    while next < first + count {
        let size = FILL.min(first + count - next);
        engine.commit(&batch(next, size))?;
        next += size;
    }
    Ok(())
}

fn batch(first: u64, size: u64) -> Vec<(u64, Vec<u8>)> {
    (first..first + size).map(|revision| (revision, record(revision))).collect()
}

/// Half words as objects have them, half bytes that don't compress.
fn record(revision: u64) -> Vec<u8> {
    let words = br#"{"kind":"Pod","metadata":{"labels":{"app":"web"},"name":"web-"},"spec":{"containers":[]}}"#;
    let mut state = revision.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let noise = std::iter::from_fn(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some(state as u8)
    });
    words.iter().copied().cycle().take(RECORD / 2).chain(noise.take(RECORD / 2)).collect()
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let begin = Instant::now();
    let done = work()?;
    Ok((done, begin.elapsed()))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.0}", bytes as f64 / f64::from(1 << 20))
}

/// Bytes that the files at or below `path` take on disk.
fn disk_usage(path: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = path.metadata()?;
    if !metadata.is_dir() {
        return Ok(metadata.blocks() * 512);
    }
    let mut sum = 0;
    for entry in path.read_dir()? {
        sum += disk_usage(&entry?.path())?;
    }
    Ok(sum)
}
