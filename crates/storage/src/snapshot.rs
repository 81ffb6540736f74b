//! Snapshots: all that an embedded store holds at one revision, as one file that can be moved and checked.
//!
//! The file is a header (magic, format, revision, objects, length of the data; integers little-endian), a complete store
//! file as [`crate::embedded::Embedded::open`] reads it, and the SHA-256 of everything before. Fails: a file that is cut off, altered or
//! of another format is refused before anything is put in place.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::{Revision, embedded};

/// Where an API server hands its snapshot out.
pub const PATH: &str = "/keelson/snapshot";
const MAGIC: &[u8; 16] = b"keelson snapshot";
/// The layout of the file; another one is refused.
const FORMAT: u32 = 1;
const HEADER: usize = MAGIC.len() + 4 + 3 * 8;
const HASH: usize = 32;
const CHUNK: usize = 256 << 10;

/// What a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The newest revision in it.
    pub revision: Revision,
    /// Keys that exist at that revision.
    pub objects: u64,
    /// Length of the store file in it, in bytes.
    pub data: u64,
}

/// A snapshot on its way out: the parts of its file, in order.
pub struct Snapshot {
    summary: Summary,
    data: File,
    hash: Sha256,
    next: Part,
}

enum Part {
    Header,
    Data { left: u64 },
    End,
}

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{0} is no snapshot")]
    Foreign(PathBuf),
    #[error("{path} has format {found}, this build reads {FORMAT}")]
    Format { path: PathBuf, found: u32 },
    #[error("{0} is cut off")]
    Truncated(PathBuf),
    #[error("{0} is damaged: its SHA-256 is another one")]
    Damaged(PathBuf),
    #[error("{0} is not empty")]
    Occupied(PathBuf),
    #[error("the store in {path} can't be used: {reason}")]
    Unusable { path: PathBuf, reason: String },
}

type Result<T> = std::result::Result<T, SnapshotError>;

// === impl Summary ===

impl Summary {
    fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        let fields = [self.revision.0, self.objects, self.data].map(u64::to_le_bytes);
        let parts = [MAGIC.as_slice(), &FORMAT.to_le_bytes(), fields.as_flattened()];
        out.copy_from_slice(&parts.concat());
        out
    }

    fn decode(header: &[u8; HEADER], path: &Path) -> Result<Self> {
        let foreign = || SnapshotError::Foreign(path.to_owned());
        let (format, rest) = header.strip_prefix(MAGIC).and_then(<[u8]>::split_first_chunk).ok_or_else(foreign)?;
        let found = u32::from_le_bytes(*format);
        if found != FORMAT {
            return Err(SnapshotError::Format { path: path.to_owned(), found });
        }
        let (fields, _) = rest.as_chunks::<8>();
        let [revision, objects, data] = fields else { return Err(foreign()) };
        let [revision, objects, data] = [revision, objects, data].map(|field| u64::from_le_bytes(*field));
        Ok(Self { revision: Revision(revision), objects, data })
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// A snapshot of the store file `data`, which nobody writes to any more.
    pub(crate) fn new(revision: Revision, objects: u64, mut data: File) -> io::Result<Self> {
        let length = data.seek(SeekFrom::End(0))?;
        data.rewind()?;
        let summary = Summary { revision, objects, data: length };
        Ok(Self { summary, data, hash: Sha256::new(), next: Part::Header })
    }

    /// What it holds.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// Length of the whole file in bytes.
    pub fn length(&self) -> u64 {
        HEADER as u64 + self.summary.data + HASH as u64
    }

    /// The next part of the file; `None` after the last. Waits for the disk.
    ///
    /// # Errors
    /// If the data can't be read.
    pub fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        let chunk = match self.next {
            Part::Header => {
                self.next = Part::Data { left: self.summary.data };
                Bytes::copy_from_slice(&self.summary.encode())
            }
            Part::Data { left: 0 } => {
                self.next = Part::End;
                return Ok(Some(Bytes::copy_from_slice(&self.hash.finalize_reset())));
            }
            Part::Data { left } => {
                let mut chunk = vec![0; left.min(CHUNK as u64) as usize];
                self.data.read_exact(&mut chunk)?;
                self.next = Part::Data { left: left - chunk.len() as u64 };
                chunk.into()
            }
            Part::End => return Ok(None),
        };
        self.hash.update(&chunk);
        Ok(Some(chunk))
    }
}

/// Reads the snapshot at `path` and checks all of it.
///
/// # Errors
/// If it can't be read, is cut off, damaged, or no snapshot of this format.
pub fn verify(path: &Path) -> Result<Summary> {
    unpack(path, &mut io::sink())
}

/// Makes the directory `data_dir` (which may exist if it is empty) a store with what the snapshot at `path` holds. No store
/// is there unless all went well.
///
/// # Errors
/// As [`verify`]; if the directory is not empty or can't be written.
pub fn restore(path: &Path, data_dir: &Path) -> Result<Summary> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| SnapshotError::Io { path, source }
    };
    // Looked at first, so that a bad snapshot leaves no directory behind.
    verify(path)?;
    fs::create_dir_all(data_dir).map_err(io(data_dir))?;
    if fs::read_dir(data_dir).map_err(io(data_dir))?.next().is_some() {
        return Err(SnapshotError::Occupied(data_dir.to_owned()));
    }
    let mut file = tempfile::NamedTempFile::new_in(data_dir).map_err(io(data_dir))?;
    let summary = unpack(path, file.as_file_mut())?;
    let unusable = |reason| SnapshotError::Unusable { path: path.to_owned(), reason };
    let held = embedded::newest_revision(file.path()).map_err(|error| unusable(error.to_string()))?;
    if held != summary.revision {
        return Err(unusable(format!("it ends at revision {held}, not at {}", summary.revision)));
    }
    file.as_file().sync_all().map_err(io(data_dir))?;
    let place = data_dir.join(embedded::FILE);
    file.persist_noclobber(&place).map_err(|error| io(&place)(error.error))?;
    File::open(data_dir).and_then(|dir| dir.sync_all()).map_err(io(data_dir))?;
    Ok(summary)
}

/// Writes the store file in the snapshot at `path` to `out`, and checks what goes by.
fn unpack(path: &Path, out: &mut impl Write) -> Result<Summary> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::UnexpectedEof => SnapshotError::Truncated(path.to_owned()),
        _ => SnapshotError::Io { path: path.to_owned(), source },
    };
    let mut file = File::open(path).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut header = [0; HEADER];
    file.read_exact(&mut header).map_err(failed)?;
    let summary = Summary::decode(&header, path)?;
    hash.update(header);
    let mut chunk = vec![0; CHUNK];
    let mut left = summary.data;
    while left > 0 {
        let part = &mut chunk[..left.min(CHUNK as u64) as usize];
        file.read_exact(part).map_err(failed)?;
        hash.update(&*part);
        out.write_all(part).map_err(failed)?;
        left -= part.len() as u64;
    }
    let mut told = [0; HASH];
    file.read_exact(&mut told).map_err(failed)?;
    let ends = file.read(&mut [0]).map_err(failed)? == 0;
    if ends && hash.finalize().as_slice() == told.as_slice() {
        Ok(summary)
    } else {
        Err(SnapshotError::Damaged(path.to_owned()))
    }
}
