//! Kinds whose versions are converted elsewhere: by webhooks.
//!
//! Everything below works on an object in the version that is asked for, at once. So such a kind's entries are exchanged for entries in that
//! version before anything looks at them ([`Stored::shown`]): what was converted stays with the entry, and lives as long as it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use storage::KeyValue;

use crate::{
    cache::{CacheEvent, Entry, Scope, View},
    error::{Error, Result},
    meta,
    model::{Format, Resource, StorageModel, Stored},
    registry::Registry,
};

/// Objects in one question to a converter.
const BATCH: usize = 500;
/// What those objects may take in the store, together, unless one alone takes more.
const BATCH_BYTES: usize = 4 << 20;

/// How objects of a kind get from one of its versions to another.
pub enum Conversion {
    /// At once.
    Local(fn(&Format, &Format, Value) -> Result<Value>),
    /// By asking somebody.
    Remote(Arc<dyn Converter>),
}

/// Somebody who converts objects of one kind.
#[async_trait]
pub trait Converter: Send + Sync + 'static {
    /// The objects in the format `to`, in their order. They say themselves in which other version each of them is.
    ///
    /// # Errors
    /// What clients are told; then none of them was converted.
    async fn convert(&self, to: &Format, objects: Vec<Value>) -> Result<Vec<Value>>;
}

impl StorageModel {
    /// Whoever has to be asked for conversions.
    pub(crate) fn converter(&self) -> Option<&Arc<dyn Converter>> {
        match &self.conversion {
            Conversion::Local(_) => None,
            Conversion::Remote(converter) => Some(converter),
        }
    }

    /// An object in another version of the kind, both counted as in `formats`.
    async fn converted(&self, object: Value, from: usize, to: usize) -> Result<Value> {
        match &self.conversion {
            _ if from == to || object.is_null() => Ok(object),
            Conversion::Local(_) => self.served(self.to_storage(object, from)?, to),
            Conversion::Remote(converter) => {
                let version = meta::get(&object, "resourceVersion").cloned();
                let mut object = object;
                self.formats[from].stamp(&mut object);
                meta::set(&mut object, "resourceVersion", Value::Null);
                let mut made = one(converter.convert(&self.formats[to], vec![object]).await?)?;
                meta::set(&mut made, "resourceVersion", version.unwrap_or_default());
                Ok(made)
            }
        }
    }
}

fn one(made: Vec<Value>) -> Result<Value> {
    made.into_iter().next().ok_or_else(|| Error::internal("nothing was converted"))
}

impl Stored {
    /// These entries as this version shows them.
    ///
    /// # Errors
    /// Not all of them could be converted.
    pub async fn shown(&self, entries: Vec<Arc<Entry>>) -> Result<Vec<Arc<Entry>>> {
        let Some(converter) = self.model.converter() else { return Ok(entries) };
        let mut missing: Vec<&Arc<Entry>> = entries.iter().filter(|e| e.view(self.version).is_none()).collect();
        // Always in one order, so that those who wait for each other's conversions don't do so in a circle.
        missing.sort_by_key(|e| (Arc::clone(&e.key), Arc::as_ptr(e)));
        missing.dedup_by_key(|e| Arc::as_ptr(e));
        let mut held = Vec::with_capacity(missing.len());
        for entry in &missing {
            held.push(entry.converting().await);
        }
        missing.retain(|e| e.view(self.version).is_none());
        let mut batch = Vec::new();
        let mut bytes = 0;
        for entry in missing {
            if self.is_shown_as_it_is(entry)? {
                entry.keep_view(self.version, View::Itself);
                continue;
            }
            if batch.len() == BATCH || (bytes > 0 && bytes + entry.stored.len() > BATCH_BYTES) {
                self.convert_all(converter, std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
            bytes += entry.stored.len();
            batch.push(entry);
        }
        self.convert_all(converter, batch).await?;
        drop(held);
        let shown = |entry: &Arc<Entry>| match entry.view(self.version) {
            Some(View::Itself) | None => Arc::clone(entry),
            Some(View::Other(view)) => view,
        };
        Ok(entries.iter().map(shown).collect())
    }

    /// Whether the entry is in this version, or can't be read whatever the version.
    fn is_shown_as_it_is(&self, entry: &Entry) -> Result<bool> {
        Ok(entry.broken.is_some() || self.model.decode_as_written(&entry.stored)?.1 == self.version)
    }

    async fn convert_all(&self, converter: &Arc<dyn Converter>, entries: Vec<&Arc<Entry>>) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let format = &self.model.formats[self.version];
        let written = |entry: &&Arc<Entry>| self.model.decode_as_written(&entry.stored).map(|(value, _)| value);
        let objects = entries.iter().map(written).collect::<Result<Vec<Value>>>()?;
        let made = converter.convert(format, objects).await?;
        for (entry, object) in entries.into_iter().zip(&made) {
            let view = entry.in_other_form(crate::codec::encode_stored(format, object)?);
            view.keep_view(self.version, View::Itself);
            entry.keep_view(self.version, View::Other(Arc::new(view)));
        }
        Ok(())
    }

    /// These events as a watch of this version sees them.
    pub(crate) async fn shown_events(&self, events: Vec<Arc<CacheEvent>>) -> Result<Vec<Arc<CacheEvent>>> {
        let parts = events.iter().flat_map(|e| std::iter::once(&e.entry).chain(&e.prev)).map(Arc::clone).collect();
        let mut shown = self.shown(parts).await?.into_iter();
        let mut next = || shown.next().ok_or_else(|| Error::internal("an entry was lost"));
        let mut out = Vec::with_capacity(events.len());
        for event in &events {
            let entry = next()?;
            let prev = event.prev.as_ref().map(|_| next()).transpose()?;
            out.push(Arc::new(CacheEvent { change: event.change, entry, prev }));
        }
        Ok(out)
    }

    /// What the store has under a key below the prefix; with the forms and conversions of the cache, if that has come so far.
    pub(crate) fn entry_of(&self, key: &str, stored: Bytes, revision: u64) -> Arc<Entry> {
        match self.cache.get(key).0 {
            Some(entry) if entry.revision == revision => entry,
            _ => Arc::new(Entry::new(&self.model, key, stored, revision)),
        }
    }

    /// What the store has, as this version shows it.
    pub(crate) async fn object(&self, kv: &KeyValue) -> Result<Value> {
        if self.model.converter().is_none() {
            return self.model.read(&kv.value, kv.mod_revision.0, self.version);
        }
        let key = &kv.key[self.model.prefix.len()..];
        let entry = self.entry_of(key, kv.value.clone(), kv.mod_revision.0);
        self.shown_value(entry).await
    }

    async fn shown_value(&self, entry: Arc<Entry>) -> Result<Value> {
        let shown = self.shown(vec![entry]).await?;
        shown.first().ok_or_else(|| Error::internal("an entry was lost"))?.value(self.version)
    }

    /// The bytes to store for an object in this version. The resource version is not stored (it is the revision), and is taken off the object.
    pub(crate) async fn to_stored(&self, object: &mut Value) -> Result<Bytes> {
        if self.model.converter().is_none() || self.version == self.model.storage_format {
            return self.model.to_stored(object, self.version);
        }
        meta::set(object, "resourceVersion", Value::Null);
        let mut made = self.model.converted(object.clone(), self.version, self.model.storage_format).await?;
        self.model.to_stored(&mut made, self.model.storage_format)
    }

    /// An object after it was written: where a converter was asked, what it makes of what is stored.
    pub(crate) async fn answer(&self, object: Value, key: &str, stored: &Bytes, revision: u64) -> Result<Value> {
        if self.model.converter().is_none() || self.version == self.model.storage_format {
            return Ok(object);
        }
        self.shown_value(self.entry_of(&key[self.model.prefix.len()..], stored.clone(), revision)).await
    }
}

impl Resource {
    /// One of its objects in the version of another resource with the same objects.
    ///
    /// # Errors
    /// It could not be converted.
    pub async fn convert_to(&self, other: &Resource, object: Value) -> Result<Value> {
        match (&self.stored, &other.stored) {
            (Some(from), Some(to)) => from.model.converted(object, from.version, to.version).await,
            _ => Ok(object),
        }
    }
}

impl Registry {
    /// The objects of a scope as far as the cache knows them, in the resource's version: for checks that tolerate a moment's delay.
    ///
    /// # Errors
    /// One of them can't be read or converted.
    pub async fn known(&self, resource: &Resource, scope: &Scope) -> Result<Vec<Value>> {
        let stored = resource.stored()?;
        let entries = stored.shown(stored.cache.list(scope).0).await?;
        entries.iter().map(|entry| entry.value(stored.version)).collect()
    }
}
