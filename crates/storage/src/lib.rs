//! Where cluster state lives: the [`Store`] trait (a flat, revisioned key space with etcd's semantics), its two
//! backends, `embedded` and `etcd`, and what encrypts values on their way into either.
//!
//! Invariant: knows keys, bytes and revisions only; no Kubernetes type, no codec, no object semantics.

pub mod embedded;
pub mod encryption;
pub mod etcd;
pub mod snapshot;

use std::{fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use snapshot::Snapshot;

/// A point in the store's history. Every successful write gets the next one; 0 is "before everything" and also
/// "the key does not exist" where a key's own revision is meant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One key as it stood at `mod_revision`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    pub key: String,
    pub value: Bytes,
    /// The write that produced this value.
    pub mod_revision: Revision,
    /// The write that created the key in its present life.
    pub create_revision: Revision,
    /// The value is stored in another form than it would be written in now, so it is worth writing unchanged.
    pub stale: bool,
}

/// What part of a prefix [`Store::list`] returns.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Read the state as of this revision; `None` is the newest.
    pub at: Option<Revision>,
    /// Start strictly after this key (paging).
    pub after: Option<String>,
    /// At most this many items; 0 is all.
    pub limit: usize,
}

/// One page of a prefix in key order, and the revision at which all of it is true.
#[derive(Clone, Debug)]
pub struct ListPage {
    pub items: Vec<KeyValue>,
    pub revision: Revision,
    /// How many keys of the prefix follow the last item.
    pub remaining: u64,
}

/// One change of one key.
#[derive(Clone, Debug)]
pub enum Event {
    /// The key was created or changed; `prev` is the value before, if there was one.
    Put { kv: KeyValue, prev: Option<KeyValue> },
    /// The key was removed at `revision`; `prev` is its last value.
    Delete { prev: KeyValue, revision: Revision },
    /// Nothing of this watch lies unsent at or before this revision.
    Progress(Revision),
}

impl Event {
    /// The revision of the change, or that progress is reported for.
    pub fn revision(&self) -> Revision {
        match self {
            Self::Put { kv, .. } => kv.mod_revision,
            Self::Delete { revision, .. } | Self::Progress(revision) => *revision,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A create found the key, or a compare-and-swap found another revision. `current` is what is there (`None`: no such key).
    #[error("conflict on {key}")]
    Conflict { key: String, current: Option<KeyValue> },
    /// The revision asked for has been compacted away. `oldest` is 0 where the backend does not tell.
    #[error("required revision {requested} has been compacted, oldest is {oldest}")]
    Compacted { requested: Revision, oldest: Revision },
    /// The revision asked for has not happened yet. `newest` is 0 where the backend does not tell.
    #[error("required revision {requested} is in the future, newest is {newest}")]
    Future { requested: Revision, newest: Revision },
    /// The store can't answer now; the operation may or may not have been carried out.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// Stored data can't be read.
    #[error("store corrupted: {0}")]
    Corrupt(String),
    /// The value of `key` can't be encrypted or decrypted. Lists and watches go on all the same, see [`encryption::unreadable`].
    #[error("{reason}")]
    Transform { key: String, reason: String },
    /// This backend does not do that; the text says what does.
    #[error("{0}")]
    Unsupported(&'static str),
}

pub type Result<T> = std::result::Result<T, StoreError>;
/// Events in revision order without gaps. An `Err` is the last item; a receiver that lags too far gets one.
pub type WatchStream = BoxStream<'static, Result<Event>>;

/// The narrow waist between the API server and its data. All writes are durable when the call returns.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// One key (`None`: absent) and the store's revision at which that is true.
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision)>;
    /// All keys that start with `prefix`, atomically at one revision.
    async fn list(&self, prefix: &str, options: ListOptions) -> Result<ListPage>;
    /// Writes `value` if the key's mod revision is `expected` (0: it must not exist). With `ttl` the key disappears by
    /// itself after about that time.
    async fn put(&self, key: &str, value: Bytes, expected: Revision, ttl: Option<Duration>) -> Result<Revision>;
    /// Removes the key if its mod revision is `expected`; returns the revision of the removal.
    async fn delete(&self, key: &str, expected: Revision) -> Result<Revision>;
    /// Every change under `prefix` after `after`, in order, without a gap to a `list` that returned `after`. Where `after`
    /// has been compacted, the error comes from here or as the stream's first item.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<WatchStream>;
    /// The newest revision. Live watches report [`Event::Progress`] up to it soon after, so that a reader that must be
    /// fresh asks for the revision and then waits for its watch to get there.
    async fn revision(&self) -> Result<Revision>;
    /// Forgets history before `revision`; current values stay.
    async fn compact(&self, revision: Revision) -> Result<()>;
    /// Bytes that the data takes on disk.
    async fn size(&self) -> Result<u64>;
    /// All that is held at one revision, history included, taken while writes go on.
    async fn save(&self) -> Result<Snapshot>;
}
