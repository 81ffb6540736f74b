//! One object in the cache.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;

use crate::{error::Error, model::StorageModel, negotiate::Codec};

/// What selectors look at, read once from each object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selectable {
    /// Sorted by key.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// The selectable fields in the model's order: (label, value).
    pub fields: Box<[(Arc<str>, Box<str>)]>,
}

impl Selectable {
    pub fn label(&self, key: &str) -> Option<&str> {
        let at = self.labels.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
        Some(&self.labels[at].1)
    }

    pub fn field(&self, label: &str) -> Option<&str> {
        self.fields.iter().find(|(l, _)| &**l == label).map(|(_, value)| &**value)
    }
}

/// A served form of an object: which version, in which codec. Versions are counted as the model lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    pub version: usize,
    pub codec: Codec,
}

/// One object as of `revision`: the bytes in the store, and every form a client asked for, encoded once.
pub struct Entry {
    /// The key below the resource's prefix: `namespace/name` or `name`.
    pub key: Arc<str>,
    pub revision: u64,
    pub stored: Bytes,
    pub selectable: Selectable,
    /// Why the stored bytes can't be read; lists that would contain this entry fail with it.
    pub broken: Option<String>,
    model: Arc<StorageModel>,
    encoded: Mutex<Vec<(Form, Bytes)>>,
    /// In the version that was asked for first.
    decoded: OnceLock<(usize, Arc<Value>)>,
}

impl Entry {
    pub fn new(model: &Arc<StorageModel>, key: &str, stored: Bytes, revision: u64) -> Entry {
        let (selectable, broken) = match model.selectable(&stored) {
            Ok(selectable) => (selectable, None),
            Err(e) => {
                tracing::error!(prefix = %model.prefix, key, error = %e, "stored object can't be decoded");
                (Selectable::default(), Some(e.to_string()))
            }
        };
        Entry {
            key: key.into(),
            revision,
            stored,
            selectable,
            broken,
            model: Arc::clone(model),
            encoded: Mutex::new(Vec::new()),
            decoded: OnceLock::new(),
        }
    }

    /// The same object as it is last seen, at the revision of its removal.
    pub fn removed_at(&self, revision: u64) -> Entry {
        Entry {
            key: Arc::clone(&self.key),
            revision,
            stored: self.stored.clone(),
            selectable: self.selectable.clone(),
            broken: self.broken.clone(),
            model: Arc::clone(&self.model),
            encoded: Mutex::new(Vec::new()),
            decoded: OnceLock::new(),
        }
    }

    pub fn namespace(&self) -> &str {
        self.key.split_once('/').map_or("", |(ns, _)| ns)
    }

    pub fn name(&self) -> &str {
        self.key.split_once('/').map_or(&self.key, |(_, name)| name)
    }

    /// The object in the served version `version`, with its resource version set.
    pub fn value(&self, version: usize) -> Result<Value, Error> {
        if let Some(why) = &self.broken {
            return Err(Error::internal(format!("object {}{}: {why}", self.model.prefix, self.key)));
        }
        self.model.read(&self.stored, self.revision, version)
    }

    /// The same, kept from the first use on: for kinds of few objects that are looked at with many requests (namespaces, classes).
    pub fn kept_value(&self, version: usize) -> Result<Arc<Value>, Error> {
        match self.decoded.get() {
            Some((kept, value)) if *kept == version => Ok(Arc::clone(value)),
            Some(_) => self.value(version).map(Arc::new),
            None => {
                let value = Arc::new(self.value(version)?);
                Ok(Arc::clone(&self.decoded.get_or_init(|| (version, Arc::clone(&value))).1))
            }
        }
    }

    /// The object's bytes in this form; encoded on first use.
    pub fn bytes(&self, form: Form) -> Result<Bytes, Error> {
        if let Some((_, bytes)) = self.encoded.lock().iter().find(|(f, _)| *f == form) {
            return Ok(bytes.clone());
        }
        let bytes = self.model.encode(form, &self.value(form.version)?)?;
        self.encoded.lock().push((form, bytes.clone()));
        Ok(bytes)
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}@{}", self.model.prefix, self.key, self.revision)
    }
}
