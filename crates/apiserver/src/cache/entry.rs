//! One object in the cache.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;

use super::{
    forms::{FormPool, Room},
    views::Views,
};
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

/// One object as of `revision`: the bytes in the store, and the forms that clients asked for.
pub struct Entry {
    /// The key below the resource's prefix: `namespace/name` or `name`.
    pub key: Arc<str>,
    pub revision: u64,
    pub stored: Bytes,
    pub selectable: Selectable,
    /// Why what selectors see of the stored bytes can't be read; lists that would contain this entry fail with it. Of a value
    /// that is broken elsewhere, reading it tells.
    pub broken: Option<String>,
    model: Arc<StorageModel>,
    /// Accounts for the forms; `None` for entries that are in no cache and don't live long.
    pool: Option<Arc<FormPool>>,
    /// Whether the stored bytes are what this code writes of what it reads from them, once that is known. Forms are then made
    /// without decoding them.
    canonical: OnceLock<bool>,
    forms: Mutex<Forms>,
    /// In the version that was asked for first.
    decoded: OnceLock<(usize, Arc<Value>)>,
    /// What converters made of it.
    pub(super) views: Views,
}

#[derive(Default)]
struct Forms {
    known: Vec<Known>,
    /// Whether somebody asked for one since the pool looked last.
    asked_for: bool,
}

/// A form that was encoded once.
struct Known {
    form: Form,
    length: usize,
    /// `None` when it had to make room.
    bytes: Option<Bytes>,
}

impl Entry {
    /// An entry that is in no cache.
    pub fn new(model: &Arc<StorageModel>, key: &str, stored: Bytes, revision: u64) -> Entry {
        Entry::pooled(model, None, key, stored, revision)
    }

    pub(super) fn pooled(
        model: &Arc<StorageModel>,
        pool: Option<&Arc<FormPool>>,
        key: &str,
        stored: Bytes,
        revision: u64,
    ) -> Entry {
        let (selectable, broken) = match model.selectable(&stored) {
            Ok(selectable) => (selectable, None),
            Err(e) => {
                let key = format!("{}{key}", model.prefix);
                tracing::error!(key, error = %e, "stored object can't be decoded");
                let why = match storage::encryption::unreadable(&stored) {
                    Some(why) => format!("unable to transform key \"{key}\": {why}"),
                    None => format!("object {key}: {e}"),
                };
                (Selectable::default(), Some(why))
            }
        };
        Entry {
            key: key.into(),
            revision,
            stored,
            selectable,
            broken,
            model: Arc::clone(model),
            pool: pool.map(Arc::clone),
            canonical: OnceLock::new(),
            forms: Mutex::default(),
            decoded: OnceLock::new(),
            views: Views::default(),
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
            pool: self.pool.clone(),
            canonical: self.canonical.clone(),
            forms: Mutex::default(),
            decoded: OnceLock::new(),
            views: self.views.removed_at(revision),
        }
    }

    /// The same object in other bytes.
    pub(crate) fn in_other_form(&self, stored: Bytes) -> Entry {
        Entry::pooled(&self.model, self.pool.as_ref(), &self.key, stored, self.revision)
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
            return Err(Error::internal(why));
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

    /// Tells that this server wrote the stored bytes, of a complete object in the storage version.
    pub(super) fn written_here(&self) {
        self.canonical.get_or_init(|| true);
    }

    /// The object's bytes in this form; encoded anew where they are not kept.
    pub fn bytes(self: &Arc<Self>, form: Form, room: Room) -> Result<Bytes, Error> {
        if let Some(bytes) = self.kept(form) {
            return Ok(bytes);
        }
        let bytes = self.encode(form)?;
        self.learn_length(form, bytes.len());
        match &self.pool {
            Some(pool) => pool.keep(self, form, &bytes, room),
            None => _ = self.take(form, &bytes),
        }
        Ok(bytes)
    }

    /// The length of [`Entry::bytes`].
    pub fn length(self: &Arc<Self>, form: Form) -> Result<usize, Error> {
        let known = self.forms.lock().known.iter().find(|known| known.form == form).map(|known| known.length);
        match known {
            Some(length) => Ok(length),
            None => Ok(self.bytes(form, Room::IfThere)?.len()),
        }
    }

    fn kept(&self, form: Form) -> Option<Bytes> {
        let mut forms = self.forms.lock();
        let bytes = forms.known.iter().find(|known| known.form == form)?.bytes.clone()?;
        forms.asked_for = true;
        Some(bytes)
    }

    fn encode(&self, form: Form) -> Result<Bytes, Error> {
        if self.canonical.get() == Some(&true)
            && let Some(bytes) = self.model.print(&self.stored, self.revision, form)
        {
            debug_assert_eq!(
                String::from_utf8_lossy(&bytes),
                String::from_utf8_lossy(&self.model.encode(form, &self.value(form.version)?)?),
                "{self:?} is not canonical"
            );
            return Ok(bytes);
        }
        if let Some(why) = &self.broken {
            return Err(Error::internal(why));
        }
        if self.model.storage().custom {
            return self.model.encode(form, &self.value(form.version)?);
        }
        let value = self.model.decode(&self.stored)?;
        self.canonical.get_or_init(|| self.model.is_canonical(&self.stored, &value));
        self.model.encode(form, &self.model.numbered(value, self.revision, form.version)?)
    }

    fn learn_length(&self, form: Form, length: usize) {
        let mut forms = self.forms.lock();
        if !forms.known.iter().any(|known| known.form == form) {
            forms.known.reserve_exact(1);
            forms.known.push(Known { form, length, bytes: None });
        }
    }

    /// Takes a form of known length in; `false` if it is there already.
    pub(super) fn take(&self, form: Form, bytes: &Bytes) -> bool {
        let mut forms = self.forms.lock();
        let known = forms.known.iter_mut().find(|known| known.form == form && known.bytes.is_none());
        known.map(|known| known.bytes = Some(bytes.clone())).is_some()
    }

    /// Whether a form that is kept was asked for again since the last call.
    pub(super) fn was_asked_for(&self) -> bool {
        std::mem::take(&mut self.forms.lock().asked_for)
    }

    /// Keeps no form any longer.
    pub(super) fn release(&self) {
        let freed = self.forms.lock().known.iter_mut().filter_map(|known| known.bytes.take()).map(|b| b.len()).sum();
        if let Some(pool) = &self.pool {
            pool.released(freed);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.release();
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}@{}", self.model.prefix, self.key, self.revision)
    }
}
