//! The engines, each as the embedded store uses it or would: records by revision in one table, counters in another.

use std::{ops::Range, path::Path};

use anyhow::Result;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch as WriteBatch, PersistMode};
use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition};

/// As `storage::embedded` has it.
const CACHE_BYTES: usize = 16 << 20;

pub(super) trait Engine: Sized {
    const NAME: &str;
    fn open(path: &Path) -> Result<Self>;
    /// Writes `records` and the counter as one transaction; durable on return.
    fn commit(&mut self, records: &[(u64, Vec<u8>)]) -> Result<()>;
    /// Reads everything in order: (records, bytes of values).
    fn scan(&self) -> Result<(u64, u64)>;
    /// Removes records as one transaction; durable on return.
    fn forget(&mut self, revisions: Range<u64>) -> Result<()>;
}

pub(super) struct Redb(redb::Database);

pub(super) struct Fjall {
    database: Database,
    log: Keyspace,
    meta: Keyspace,
}

// === impl Redb ===

const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

impl Engine for Redb {
    const NAME: &str = "redb";

    fn open(path: &Path) -> Result<Self> {
        Ok(Self(redb::Database::builder().set_cache_size(CACHE_BYTES).create(path)?))
    }

    fn commit(&mut self, records: &[(u64, Vec<u8>)]) -> Result<()> {
        let write = self.0.begin_write()?;
        {
            let mut log = write.open_table(LOG)?;
            let mut meta = write.open_table(META)?;
            for (revision, value) in records {
                log.insert(revision, value.as_slice())?;
                meta.insert("revision", revision)?;
            }
        }
        Ok(write.commit()?)
    }

    fn scan(&self) -> Result<(u64, u64)> {
        let read = self.0.begin_read()?;
        let (mut count, mut bytes) = (0, 0);
        for entry in read.open_table(LOG)?.iter()? {
            count += 1;
            bytes += entry?.1.value().to_vec().len() as u64;
        }
        Ok((count, bytes))
    }

    fn forget(&mut self, revisions: Range<u64>) -> Result<()> {
        let write = self.0.begin_write()?;
        {
            let mut log = write.open_table(LOG)?;
            let mut meta = write.open_table(META)?;
            meta.insert("compacted", revisions.end)?;
            for revision in revisions {
                log.remove(revision)?;
            }
        }
        Ok(write.commit()?)
    }
}

// === impl Fjall ===

impl Fjall {
    fn write(&self, fill: impl FnOnce(&mut WriteBatch)) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        fill(&mut batch);
        Ok(batch.commit()?)
    }
}

impl Engine for Fjall {
    const NAME: &str = "fjall";

    fn open(path: &Path) -> Result<Self> {
        let database = Database::builder(path).cache_size(CACHE_BYTES as u64).open()?;
        let log = database.keyspace("log", KeyspaceCreateOptions::default)?;
        let meta = database.keyspace("meta", KeyspaceCreateOptions::default)?;
        Ok(Self { database, log, meta })
    }

    fn commit(&mut self, records: &[(u64, Vec<u8>)]) -> Result<()> {
        self.write(|batch| {
            for (revision, value) in records {
                batch.insert(&self.log, revision.to_be_bytes(), value.as_slice());
            }
            if let Some((revision, _)) = records.last() {
                batch.insert(&self.meta, "revision", revision.to_be_bytes());
            }
        })
    }

    fn scan(&self) -> Result<(u64, u64)> {
        let (mut count, mut bytes) = (0, 0);
        for entry in self.log.iter() {
            count += 1;
            bytes += entry.value()?.to_vec().len() as u64;
        }
        Ok((count, bytes))
    }

    fn forget(&mut self, revisions: Range<u64>) -> Result<()> {
        self.write(|batch| {
            batch.insert(&self.meta, "compacted", revisions.end.to_be_bytes());
            for revision in revisions {
                batch.remove(&self.log, revision.to_be_bytes());
            }
        })
    }
}
