//! The default store: all of the data in memory, every write in a file before it is answered.
//!
//! Reads, lists at an older revision and watches are served from memory and never wait for the disk; values are
//! reference-counted, so what a cache above holds of them costs nothing twice. Writes are group-committed to one redb
//! file by one thread ([`writer`]), which compacts in small steps between them. In memory only ([`Embedded::in_memory`]) there is no file and no thread, and time is
//! tokio's, so that a test under a paused clock runs the same way every time.
//!
//! Fails: a commit that the file system refuses answers `Unavailable`, and the file is opened again before the next one: what
//! it has of the failed one is true then. A file of another format or
//! with unreadable records is not opened.

mod hub;
mod journal;
mod mvcc;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
/// What a store can be on beside a file.
pub use redb::StorageBackend as Disk;
use tokio::{sync::Notify, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use self::{
    hub::Hub,
    journal::Journal,
    mvcc::{Mvcc, Write},
    writer::{Op, Writer},
};
use crate::{KeyValue, ListOptions, ListPage, Result, Revision, Store, StoreError, WatchStream, snapshot::Snapshot};

/// History younger than this is kept, and nothing older than twice this.
pub const COMPACTION_INTERVAL: Duration = Duration::from_secs(300);
/// Idle watches hear how far they are at least this often.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
/// The name of the file in a data directory.
pub(crate) const FILE: &str = "store.redb";

/// The embedded store. Dropping it ends its watches and closes its file.
pub struct Embedded {
    core: Arc<Core>,
    _janitor: AbortOnDropHandle<()>,
}

struct Core {
    hub: Arc<RwLock<Hub>>,
    writer: Writer,
    clock: Clock,
    path: Option<PathBuf>,
    /// A key with an earlier expiry than all others may have come.
    expiry_changed: Arc<Notify>,
}

/// Unix time that follows tokio's clock.
struct Clock {
    start: Instant,
    start_ms: u64,
}

// === impl Clock ===

impl Clock {
    fn new() -> Self {
        let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Self { start: Instant::now(), start_ms: since_epoch.as_millis() as u64 }
    }

    fn now_ms(&self) -> u64 {
        self.start_ms + self.start.elapsed().as_millis() as u64
    }

    fn at_ms(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms.saturating_sub(self.start_ms))
    }
}

// === impl Embedded ===

impl Embedded {
    /// A store that is gone with the process. Needs a tokio runtime around it.
    pub fn in_memory() -> Self {
        let hub = Arc::new(RwLock::new(Hub::new(Mvcc::default())));
        Self::start(hub.clone(), Writer::Memory(hub), None)
    }

    /// The store in the directory `data_dir`, which is created if it does not exist.
    pub async fn open(data_dir: impl AsRef<Path>) -> Result<Self> {
        let dir = data_dir.as_ref().to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&dir)
                .map_err(|error| StoreError::Unavailable(format!("creating {}: {error}", dir.display())))?;
            let path = dir.join(FILE);
            let (journal, state) = Journal::open(&path)?;
            let hub = Arc::new(RwLock::new(Hub::new(state)));
            Ok((hub.clone(), Writer::file(journal, hub)?, path))
        });
        let (hub, writer, path) = opened.await.map_err(|error| StoreError::Unavailable(error.to_string()))??;
        Ok(Self::start(hub, writer, Some(path)))
    }

    /// The store on a disk of the caller's, which may fail or forget what was not synced. Everything happens in the runtime
    /// around it, on its clock.
    ///
    /// # Errors
    /// As [`Embedded::open`].
    pub fn open_disk(disk: impl Disk + Clone) -> Result<Self> {
        let (journal, state) = Journal::open_disk(disk)?;
        let hub = Arc::new(RwLock::new(Hub::new(state)));
        Ok(Self::start(hub.clone(), Writer::task(journal, hub), None))
    }

    fn start(hub: Arc<RwLock<Hub>>, writer: Writer, path: Option<PathBuf>) -> Self {
        let core = Arc::new(Core { hub, writer, clock: Clock::new(), path, expiry_changed: Arc::new(Notify::new()) });
        let janitor = tokio::spawn(keep_house(Arc::downgrade(&core)));
        Self { core, _janitor: AbortOnDropHandle::new(janitor) }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.hub.write().close();
    }
}

#[async_trait]
impl Store for Embedded {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision)> {
        let hub = self.core.hub.read();
        Ok((hub.state.get(key), Revision(hub.state.current())))
    }

    async fn list(&self, prefix: &str, options: ListOptions) -> Result<ListPage> {
        self.core.hub.read().state.list(prefix, &options)
    }

    async fn put(&self, key: &str, value: Bytes, expected: Revision, ttl: Option<Duration>) -> Result<Revision> {
        let write = Write::Put {
            key: key.to_owned(),
            value,
            expected: expected.0,
            expires: ttl.map(|ttl| self.core.clock.now_ms() + ttl.as_millis() as u64),
        };
        let revision = self.core.writer.run(Op::Write(write)).await?;
        if ttl.is_some() {
            self.core.expiry_changed.notify_one();
        }
        Ok(Revision(revision))
    }

    async fn delete(&self, key: &str, expected: Revision) -> Result<Revision> {
        let write = Write::Delete { key: key.to_owned(), expected: expected.0 };
        self.core.writer.run(Op::Write(write)).await.map(Revision)
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<WatchStream> {
        hub::watch(&self.core.hub, prefix, after)
    }

    async fn revision(&self) -> Result<Revision> {
        {
            let hub = self.core.hub.read();
            if !hub.lagging() {
                return Ok(Revision(hub.state.current()));
            }
        }
        let mut hub = self.core.hub.write();
        hub.want_progress();
        Ok(Revision(hub.state.current()))
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        let newest = Revision(self.core.hub.read().state.current());
        if revision > newest {
            return Err(StoreError::Future { requested: revision, newest });
        }
        self.core.writer.run(Op::Compact(revision.0)).await.map(drop)
    }

    async fn size(&self) -> Result<u64> {
        match &self.core.path {
            None => Ok(self.core.hub.read().state.bytes()),
            Some(path) => tokio::fs::metadata(path)
                .await
                .map(|file| file.len())
                .map_err(|error| StoreError::Unavailable(error.to_string())),
        }
    }

    /// Memory has only what is durable, so the copy is made from there: the lock is held while references are counted,
    /// not while bytes are written.
    async fn save(&self) -> Result<Snapshot> {
        let contents = self.core.hub.read().state.contents();
        let dir = self.core.path.as_deref().and_then(Path::parent).map_or_else(std::env::temp_dir, Path::to_owned);
        tokio::task::spawn_blocking(move || {
            let unavailable = |error: std::io::Error| StoreError::Unavailable(format!("writing a copy: {error}"));
            // Without a name, so that nothing stays behind whatever happens.
            let file = tempfile::tempfile_in(dir).map_err(unavailable)?;
            journal::write_copy(file.try_clone().map_err(unavailable)?, &contents)?;
            Snapshot::new(Revision(contents.current), contents.objects, file).map_err(unavailable)
        })
        .await
        .map_err(|error| StoreError::Unavailable(error.to_string()))?
    }
}

/// The newest revision of the store file at `path`, all of which is read.
pub(crate) fn newest_revision(path: &Path) -> Result<Revision> {
    let (_, state) = Journal::open(path)?;
    Ok(Revision(state.current()))
}

// === impl Core ===

impl Core {
    /// Removes what is due. A key that was written meanwhile stays: its removal finds another revision.
    async fn expire(&self) {
        let due = self.hub.read().state.expired(self.clock.now_ms());
        for write in due {
            match self.writer.run(Op::Write(write)).await {
                Ok(_) | Err(StoreError::Conflict { .. }) => {}
                Err(error) => tracing::warn!(%error, "removing an expired key failed"),
            }
        }
    }

    fn next_expiry(&self) -> Option<Instant> {
        let ms = self.hub.read().state.next_expiry()?;
        Some(self.clock.at_ms(ms))
    }
}

/// What has to happen by itself: expiry, compaction, progress. Holds the store only while it works, so that the last
/// owner's drop closes the file at once.
async fn keep_house(core: Weak<Core>) {
    let mut progress = tokio::time::interval(PROGRESS_INTERVAL);
    let first = Instant::now() + COMPACTION_INTERVAL;
    let mut compaction = tokio::time::interval_at(first, COMPACTION_INTERVAL);
    // The newest revision one interval ago: what happened since stays.
    let mut compact_to = 0;
    loop {
        let Some((expiry, expiry_changed)) =
            core.upgrade().map(|core| (core.next_expiry(), core.expiry_changed.clone()))
        else {
            return;
        };
        let due = tokio::select! {
            _ = progress.tick() => Due::Progress,
            _ = compaction.tick() => Due::Compaction,
            () = sleep_until(expiry) => Due::Expiry,
            () = expiry_changed.notified() => continue,
        };
        let Some(core) = core.upgrade() else { return };
        match due {
            Due::Progress => core.hub.write().want_progress(),
            Due::Expiry => core.expire().await,
            Due::Compaction => {
                let current = core.hub.read().state.current();
                core.writer.begin_compaction(compact_to).await;
                compact_to = current;
            }
        }
    }
}

enum Due {
    Progress,
    Expiry,
    Compaction,
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}
