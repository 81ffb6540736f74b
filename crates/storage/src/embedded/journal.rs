//! The file behind the state: one redb table of records by revision and one of counters. A batch and the counters it
//! moves are one transaction, so a crash leaves either all of a batch or none of it.

use std::{fs::File, path::Path, sync::Arc};

use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, backends::FileBackend};

use super::mvcc::{Batch, Contents, Forgotten, Mvcc, Record};
use crate::{Result, StoreError};

const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// The layout of the tables; a file with another one is refused.
const FORMAT: u64 = 1;
/// Reads come from memory, so the page cache only serves the tree's inner pages.
const CACHE_BYTES: usize = 16 << 20;

pub(super) struct Journal {
    /// `None` after a failure: what the file has then is known only when it has been read again.
    db: Option<Database>,
    open: Box<dyn Fn() -> Result<Database> + Send>,
}

impl Journal {
    /// Opens or creates the file and reads all of it.
    pub(super) fn open(path: &Path) -> Result<(Self, Mvcc)> {
        let path = path.to_owned();
        Self::start(move || {
            let db = builder().create(&path);
            db.map_err(|error| StoreError::Unavailable(format!("opening {}: {error}", path.display())))
        })
    }

    /// The same on something that is not a file.
    pub(super) fn open_disk(disk: impl StorageBackend + Clone) -> Result<(Self, Mvcc)> {
        Self::start(move || builder().create_with_backend(disk.clone()).map_err(failed))
    }

    fn start(open: impl Fn() -> Result<Database> + Send + 'static) -> Result<(Self, Mvcc)> {
        let db = open()?;
        prepare(&db)?;
        let state = load(&db)?;
        Ok((Self { db: Some(db), open: Box::new(open) }, state))
    }

    /// Whether the last operation failed, so that [`Journal::reopen`] comes first.
    pub(super) fn is_broken(&self) -> bool {
        self.db.is_none()
    }

    /// Opens the file again after a failure: the records after revision `current` that it has all the same.
    pub(super) fn reopen(&mut self, current: u64) -> Result<Vec<Record>> {
        let db = (self.open)()?;
        prepare(&db)?;
        let found = {
            let read = db.begin_read().map_err(failed)?;
            let log = read.open_table(LOG).map_err(failed)?;
            records(log.range(current + 1..).map_err(failed)?)?
        };
        self.db = Some(db);
        Ok(found.into_iter().map(|(_, record)| record).collect())
    }

    /// Does something with the file, which is closed if that fails: redb takes no writes after an error.
    fn with<T>(&mut self, change: impl FnOnce(&Database) -> Result<T>) -> Result<T> {
        let Some(db) = &self.db else { return Err(StoreError::Unavailable("the file is not open".into())) };
        let done = change(db);
        if done.is_err() {
            self.db = None;
        }
        done
    }

    /// Writes a batch; durable on return.
    pub(super) fn commit(&mut self, batch: &Batch) -> Result<()> {
        self.with(|db| commit(db, batch))
    }

    /// Forgets records and moves the compaction mark.
    pub(super) fn compact(&mut self, step: &Forgotten) -> Result<()> {
        self.with(|db| compact(db, step))
    }
}

/// Makes the tables where there are none, and checks their format.
fn prepare(db: &Database) -> Result<()> {
    let write = db.begin_write().map_err(failed)?;
    {
        write.open_table(LOG).map_err(failed)?;
        let mut meta = write.open_table(META).map_err(failed)?;
        let format = meta.get("format").map_err(failed)?.map(|v| v.value());
        match format {
            None => drop(meta.insert("format", FORMAT).map_err(failed)?),
            Some(FORMAT) => {}
            Some(other) => {
                return Err(StoreError::Corrupt(format!("the file has format {other}, this build reads {FORMAT}")));
            }
        }
    }
    write.commit().map_err(failed)
}

fn commit(db: &Database, batch: &Batch) -> Result<()> {
    let write = db.begin_write().map_err(failed)?;
    {
        let mut log = write.open_table(LOG).map_err(failed)?;
        let mut meta = write.open_table(META).map_err(failed)?;
        let mut last = None;
        for (revision, record) in batch.records() {
            log.insert(revision, encode(record).as_slice()).map_err(failed)?;
            last = Some(revision);
        }
        if let Some(revision) = last {
            meta.insert("revision", revision).map_err(failed)?;
        }
    }
    write.commit().map_err(failed)
}

/// Makes the empty `file` a store file with `contents`.
pub(super) fn write_copy(file: File, contents: &Contents) -> Result<()> {
    let db = builder().create_with_backend(FileBackend::new(file).map_err(failed)?).map_err(failed)?;
    prepare(&db)?;
    let write = db.begin_write().map_err(failed)?;
    {
        let mut log = write.open_table(LOG).map_err(failed)?;
        for (revision, record) in &contents.records {
            log.insert(revision, encode(record).as_slice()).map_err(failed)?;
        }
        let mut meta = write.open_table(META).map_err(failed)?;
        meta.insert("revision", contents.current).map_err(failed)?;
        meta.insert("compacted", contents.compacted).map_err(failed)?;
    }
    write.commit().map_err(failed)
}

fn compact(db: &Database, step: &Forgotten) -> Result<()> {
    let write = db.begin_write().map_err(failed)?;
    {
        let mut log = write.open_table(LOG).map_err(failed)?;
        for revision in &step.gone {
            log.remove(revision).map_err(failed)?;
        }
        let mut meta = write.open_table(META).map_err(failed)?;
        meta.insert("compacted", step.revision).map_err(failed)?;
    }
    write.commit().map_err(failed)
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn load(db: &Database) -> Result<Mvcc> {
    let read = db.begin_read().map_err(failed)?;
    let meta = read.open_table(META).map_err(failed)?;
    let counter = |name: &str| -> Result<u64> { Ok(meta.get(name).map_err(failed)?.map_or(0, |v| v.value())) };
    let (current, compacted) = (counter("revision")?, counter("compacted")?);
    let log = read.open_table(LOG).map_err(failed)?;
    let records = records(log.iter().map_err(failed)?)?;
    Ok(Mvcc::restore(current, compacted, records.into_iter()))
}

fn records(entries: redb::Range<'_, u64, &[u8]>) -> Result<Vec<(u64, Record)>> {
    let mut records = Vec::new();
    for entry in entries {
        let (revision, bytes) = entry.map_err(failed)?;
        let revision = revision.value();
        let record =
            decode(bytes.value()).ok_or_else(|| StoreError::Corrupt(format!("record {revision} can't be read")))?;
        records.push((revision, record));
    }
    Ok(records)
}

/// create, prev, expires (0: never), kind (1: put, 0: delete), key length, key, value; integers little-endian.
fn encode(record: &Record) -> Vec<u8> {
    let value = record.value.as_deref().unwrap_or_default();
    let mut out = Vec::with_capacity(29 + record.key.len() + value.len());
    out.extend(record.create.to_le_bytes());
    out.extend(record.prev.to_le_bytes());
    out.extend(record.expires.unwrap_or(0).to_le_bytes());
    out.push(u8::from(record.value.is_some()));
    out.extend((record.key.len() as u32).to_le_bytes());
    out.extend(record.key.as_bytes());
    out.extend(value);
    out
}

fn decode(bytes: &[u8]) -> Option<Record> {
    let (create, rest) = bytes.split_first_chunk::<8>()?;
    let (prev, rest) = rest.split_first_chunk::<8>()?;
    let (expires, rest) = rest.split_first_chunk::<8>()?;
    let (&kind, rest) = rest.split_first()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (key, value) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some(Record {
        key: Arc::from(std::str::from_utf8(key).ok()?),
        value: (kind == 1).then(|| Bytes::copy_from_slice(value)),
        create: u64::from_le_bytes(*create),
        prev: u64::from_le_bytes(*prev),
        expires: Some(u64::from_le_bytes(*expires)).filter(|when| *when != 0),
    })
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Corrupted(what) => StoreError::Corrupt(what),
        other => StoreError::Unavailable(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_encoding_and_a_torn_one_is_refused() {
        let put = Record {
            key: "/registry/pods/a/ü".into(),
            value: Some(Bytes::from_static(b"\0value")),
            create: 7,
            prev: 9,
            expires: Some(1_700_000_000_000),
        };
        let removal = Record { value: None, expires: None, ..put.clone() };
        for record in [put, removal] {
            let bytes = encode(&record);
            assert_eq!(decode(&bytes), Some(record));
            assert_eq!(decode(&bytes[..30]), None);
        }
    }
}
