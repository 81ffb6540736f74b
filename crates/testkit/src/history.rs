//! Everything that was ever written, in order: what two runs with one seed must have in common.

use std::{
    fmt,
    fs::File,
    io::{self, Write as _},
    path::Path,
    sync::Arc,
};

use futures::StreamExt;
use parking_lot::Mutex;
use storage::{Event, Revision, Store};
use tokio_util::task::AbortOnDropHandle;

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub revision: u64,
    pub key: String,
    /// `None`: removed.
    pub value: Option<Vec<u8>>,
}

/// The writes of a cluster's life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History(pub Vec<Entry>);

/// Records the writes of a store.
pub struct Recorder {
    entries: Arc<Mutex<Vec<Entry>>>,
    _task: AbortOnDropHandle<()>,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { revision, key, value } = self;
        match value {
            Some(value) => write!(f, "{revision} put {key}: {}", String::from_utf8_lossy(value).escape_debug()),
            None => write!(f, "{revision} remove {key}"),
        }
    }
}

impl History {
    /// Fails with the first difference, and what came before it.
    ///
    /// # Panics
    /// If the histories differ.
    #[track_caller]
    pub fn assert_same(&self, other: &Self) {
        let pairs = self.0.iter().zip(&other.0);
        let same = pairs.take_while(|(a, b)| a == b).count();
        if same == self.0.len() && same == other.0.len() {
            return;
        }
        let before: Vec<_> = self.0[same.saturating_sub(5)..same].iter().map(|entry| entry.key.as_str()).collect();
        let show = |history: &Self| history.0.get(same).map_or("(end)".to_owned(), ToString::to_string);
        let (one, two) = (show(self), show(other));
        panic!("histories differ after {same} writes\nbefore: {before:#?}\none: {one}\n\ntwo: {two}");
    }

    /// Writes revision, key and value (with their lengths, values plus one) of each entry.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let mut file = io::BufWriter::new(File::create(path)?);
        for Entry { revision, key, value } in &self.0 {
            let length = value.as_ref().map_or(0, |value| value.len() as u64 + 1);
            for number in [*revision, key.len() as u64, length] {
                file.write_all(&number.to_le_bytes())?;
            }
            file.write_all(key.as_bytes())?;
            file.write_all(value.as_deref().unwrap_or_default())?;
        }
        file.flush()
    }

    pub(crate) fn load(path: &Path) -> io::Result<Self> {
        let bytes = std::fs::read(path)?;
        let (mut rest, mut entries) = (bytes.as_slice(), Vec::new());
        let torn = || io::Error::from(io::ErrorKind::UnexpectedEof);
        while !rest.is_empty() {
            let mut numbers = [0; 3];
            for number in &mut numbers {
                let (bytes, after) = rest.split_first_chunk::<8>().ok_or_else(torn)?;
                (*number, rest) = (u64::from_le_bytes(*bytes), after);
            }
            let [revision, key, value] = numbers;
            let (key, after) = rest.split_at_checked(key as usize).ok_or_else(torn)?;
            let (bytes, after) = after.split_at_checked(value.saturating_sub(1) as usize).ok_or_else(torn)?;
            rest = after;
            let key = String::from_utf8(key.to_vec()).map_err(io::Error::other)?;
            entries.push(Entry { revision, key, value: (value > 0).then(|| bytes.to_vec()) });
        }
        Ok(Self(entries))
    }

    /// How many writes there were under a prefix.
    pub fn count(&self, prefix: &str) -> usize {
        self.0.iter().filter(|entry| entry.key.starts_with(prefix)).count()
    }
}

impl Recorder {
    /// Records from the store's beginning.
    ///
    /// # Errors
    /// If the store has forgotten its beginning.
    pub async fn start(store: &dyn Store) -> storage::Result<Self> {
        let mut events = store.watch("/", Revision(0)).await?;
        let entries = Arc::<Mutex<Vec<Entry>>>::default();
        let sink = entries.clone();
        let task = tokio::spawn(async move {
            while let Some(Ok(event)) = events.next().await {
                let entry = match event {
                    Event::Put { kv, .. } => {
                        Entry { revision: kv.mod_revision.0, key: kv.key, value: Some(kv.value.to_vec()) }
                    }
                    Event::Delete { prev, revision } => Entry { revision: revision.0, key: prev.key, value: None },
                    Event::Progress(_) => continue,
                };
                sink.lock().push(entry);
            }
        });
        Ok(Self { entries, _task: AbortOnDropHandle::new(task) })
    }

    /// What has been recorded.
    pub fn history(&self) -> History {
        History(self.entries.lock().clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(revision: u64, value: &'static str) -> Entry {
        Entry { revision, key: "/a".into(), value: Some(value.into()) }
    }

    #[test]
    fn a_file_keeps_it() {
        let removed = Entry { value: None, ..entry(3, "") };
        let history = History(vec![entry(1, "x"), entry(2, ""), removed]);
        let file = tempfile::NamedTempFile::new().unwrap();
        history.save(file.path()).unwrap();
        assert_eq!(History::load(file.path()).unwrap(), history);
    }

    #[test]
    #[should_panic(expected = "histories differ after 1 writes")]
    fn a_difference_is_found() {
        let one = History(vec![entry(1, "x"), entry(2, "y")]);
        one.assert_same(&one.clone());
        one.assert_same(&History(vec![entry(1, "x"), entry(2, "z")]));
    }
}
