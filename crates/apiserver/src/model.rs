//! What the generic server knows of a kind: its formats (one per served version), how it is stored, and what it adds to the
//! generic verbs. All of it comes in from outside: the built-in table, or a custom resource definition.

use std::sync::Arc;

use api_semantics::{Part, Strategy};
use api_types::{protobuf::Projection, schema::Schema};
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;

use crate::{
    cache::{Form, Selectable},
    codec,
    conversion::Conversion,
    error::{Error, Result},
    meta,
    negotiate::Codec,
    options::Propagation,
};

/// A kind's strategy: of the built-in table, or made for a custom resource.
#[derive(Clone)]
pub enum StrategyHandle {
    BuiltIn(&'static dyn Strategy),
    Custom(Arc<dyn Strategy>),
}

impl std::ops::Deref for StrategyHandle {
    type Target = dyn Strategy;

    fn deref(&self) -> &Self::Target {
        match self {
            StrategyHandle::BuiltIn(strategy) => *strategy,
            StrategyHandle::Custom(strategy) => &**strategy,
        }
    }
}

/// One kind in one version: names, shape and behaviour.
pub struct Format {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub schema: Schema,
    pub strategy: StrategyHandle,
    /// Custom resources have no protobuf form, and their lists repeat kind and version in each item.
    pub custom: bool,
    /// The table columns of a custom resource; built-in kinds have theirs by name.
    pub columns: Option<api_semantics::table::CustomColumns>,
    /// The schema of a custom resource as its author wrote it.
    pub source: Option<Arc<Value>>,
}

impl Format {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Sets `apiVersion` and `kind`.
    pub fn stamp(&self, object: &mut Value) {
        if let Value::Object(map) = object {
            map.insert("apiVersion".to_owned(), self.api_version().into());
            map.insert("kind".to_owned(), self.kind.clone().into());
        }
    }

    pub fn is(&self, group: &str, version: &str, kind: &str) -> bool {
        self.group == group && self.version == version && self.kind == kind
    }
}

/// A field that lists and watches may select by.
#[derive(Clone, Debug)]
pub struct SelectableField {
    /// As clients name it.
    pub label: Arc<str>,
    /// Where its value is.
    pub path: String,
    /// What an absent value counts as.
    pub default: &'static str,
}

/// How a kind lies in the store, shared by all its served versions.
pub struct StorageModel {
    /// `/registry/pods/`.
    pub prefix: String,
    pub namespaced: bool,
    /// The served formats; a [`Form`] counts them.
    pub formats: Vec<Arc<Format>>,
    /// The one that is written.
    pub storage_format: usize,
    pub conversion: Conversion,
    pub fields: Vec<SelectableField>,
    /// The fields that selectors see: [`StorageModel::projection`] of `fields`.
    pub selected: Projection,
    /// What a field selector with an unknown field is told.
    pub unknown_field: fn(&Format, &str) -> String,
}

impl StorageModel {
    /// The labels, and these fields.
    pub fn projection(fields: &[SelectableField]) -> Projection {
        Projection::of(fields.iter().map(|field| field.path.as_str()).chain(["metadata.labels"]))
    }

    /// The store's key of an object.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        if self.namespaced { format!("{}{namespace}/{name}", self.prefix) } else { format!("{}{name}", self.prefix) }
    }

    pub(crate) fn storage(&self) -> &Arc<Format> {
        &self.formats[self.storage_format]
    }

    /// Reads stored bytes, in whichever format they were written; the result is in the storage format.
    pub fn decode(&self, stored: &[u8]) -> Result<Value> {
        let (value, from) = self.decode_as_written(stored)?;
        self.to_storage(value, from)
    }

    /// Reads stored bytes into the format that they were written in.
    pub(crate) fn decode_as_written(&self, stored: &[u8]) -> Result<(Value, usize)> {
        let (mut value, from) = codec::decode_stored(stored, &self.formats, self.storage_format)?;
        self.formats[from].strategy.default(&mut value);
        Ok((value, from))
    }

    /// From the format `from` to the storage format.
    pub(crate) fn to_storage(&self, value: Value, from: usize) -> Result<Value> {
        self.convert(value, from, self.storage_format)
    }

    fn convert(&self, value: Value, from: usize, to: usize) -> Result<Value> {
        match &self.conversion {
            _ if from == to => Ok(value),
            Conversion::Local(convert) => convert(&self.formats[from], &self.formats[to], value),
            Conversion::Remote(_) => Err(Error::internal("an object was not converted before it was looked at")),
        }
    }

    /// Reads stored bytes into the served format `version`, with the resource version that they have.
    pub fn read(&self, stored: &[u8], revision: u64, version: usize) -> Result<Value> {
        let (value, from) = self.decode_as_written(stored)?;
        let mut value = if from == version { value } else { self.served(self.to_storage(value, from)?, version)? };
        meta::set(&mut value, "resourceVersion", revision.to_string().into());
        Ok(value)
    }

    /// An object in the storage format as a served one, with its resource version.
    pub fn numbered(&self, value: Value, revision: u64, version: usize) -> Result<Value> {
        let mut value = self.served(value, version)?;
        meta::set(&mut value, "resourceVersion", revision.to_string().into());
        Ok(value)
    }

    /// A form of canonical stored bytes without decoding them; `None` where that takes more than printing.
    pub fn print(&self, stored: &[u8], revision: u64, form: Form) -> Option<Bytes> {
        if form.version != self.storage_format {
            return None;
        }
        codec::print_stored(self.storage(), form.codec, stored, revision)
    }

    /// Whether [`StorageModel::print`] may be used: `stored` is what is written of `value`, which is in the storage format.
    pub fn is_canonical(&self, stored: &[u8], value: &Value) -> bool {
        !self.storage().custom && codec::encode_stored(self.storage(), value).is_ok_and(|bytes| bytes == stored)
    }

    /// From the storage format to a served one.
    pub fn served(&self, value: Value, version: usize) -> Result<Value> {
        self.convert(value, self.storage_format, version)
    }

    /// The bytes to store for an object in the served format `version`. The resource version is not stored (it is the revision), and is
    /// taken off the object.
    pub fn to_stored(&self, value: &mut Value, version: usize) -> Result<Bytes> {
        if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
            metadata.remove("resourceVersion");
            metadata.remove("selfLink");
        }
        if version == self.storage_format {
            return codec::encode_stored(self.storage(), value);
        }
        codec::encode_stored(self.storage(), &self.to_storage(value.clone(), version)?)
    }

    /// The bytes of an object in a form.
    pub fn encode(&self, form: Form, value: &Value) -> Result<Bytes> {
        codec::encode_bare(&self.formats[form.version], form.codec, value)
    }

    /// What selectors see of stored bytes.
    pub fn selectable(&self, stored: &[u8]) -> Result<Selectable> {
        Ok(match codec::decode_stored_fields(stored, self.storage(), &self.selected)? {
            Some(fields) => self.selectable_of(&fields),
            // Whoever has to ask for conversions selects among what came of them.
            None if self.converter().is_some() => self.selectable_of(&self.decode_as_written(stored)?.0),
            None => self.selectable_of(&self.decode(stored)?),
        })
    }

    /// What selectors see of an object (in the storage format).
    fn selectable_of(&self, value: &Value) -> Selectable {
        let labels = meta::get(value, "labels").and_then(Value::as_object);
        let mut labels: Vec<(Box<str>, Box<str>)> = labels
            .into_iter()
            .flatten()
            .map(|(k, v)| (k.as_str().into(), v.as_str().unwrap_or_default().into()))
            .collect();
        labels.sort_unstable();
        let fields = self.fields.iter().map(|field| {
            let text = meta::path_text(value, &field.path);
            (Arc::clone(&field.label), if text.is_empty() { field.default.into() } else { text.into() })
        });
        Selectable { labels: labels.into(), fields: fields.collect() }
    }
}

/// What a kind adds to the generic verbs. The defaults fit a kind that adds nothing.
#[async_trait]
pub trait Behaviour: Send + Sync + 'static {
    /// The grace period that a deletion of `object` gets; 0 removes it at once. `None`: this kind knows no graceful deletion.
    fn grace_period(&self, _object: &Value, _requested: Option<i64>) -> Option<i64> {
        None
    }

    /// Whether something besides `metadata.finalizers` keeps a terminating object.
    fn is_held(&self, _object: &Value) -> bool {
        false
    }

    /// Runs when deletion is first recorded on an object that stays for now.
    /// `marked` has its deletion timestamp, grace period and generation; `object` is as it was before.
    fn mark_terminating(&self, _marked: &mut Value, _object: &Value) {}

    /// How dependents fare when the client does not say.
    fn default_propagation(&self) -> Propagation {
        Propagation::Background
    }

    /// What a client is warned of that deletes without saying how dependents fare.
    fn propagation_warning(&self) -> Option<&'static str> {
        None
    }

    /// Runs right before a new object is stored: allocations. What it did is undone by `release` when storing fails.
    async fn begin_create(&self, _object: &mut Value, _dry_run: bool) -> Result<()> {
        Ok(())
    }

    /// Runs right before a changed object is stored.
    async fn begin_update(&self, _new: &mut Value, _old: &Value, _dry_run: bool) -> Result<()> {
        Ok(())
    }

    /// Runs after a changed object was stored: gives back what it no longer uses.
    async fn after_update(&self, _new: &Value, _old: &Value) {}

    /// Runs when an object is gone, or was never stored after `begin_create`.
    async fn release(&self, _object: &Value) {}

    /// How long objects of this kind live in the store.
    fn time_to_live(&self) -> Option<std::time::Duration> {
        None
    }
}

/// The behaviour of kinds that add nothing.
pub struct Plain;

impl Behaviour for Plain {}

/// Where the `scale` subresource finds its values.
#[derive(Clone, Debug)]
pub struct ScalePaths {
    pub spec_replicas: String,
    pub status_replicas: String,
    /// The label selector: an object (`spec.selector`) or, for custom resources, a text.
    pub selector: Option<String>,
}

/// What answers a subresource.
#[derive(Clone)]
pub enum Subresource {
    /// Get, update, patch of the whole object where only a part may change.
    Part(Part),
    Scale(ScalePaths),
    /// Anything else.
    Endpoint(Arc<dyn crate::server::Endpoint>),
}

/// One entry of `subresources` in discovery.
#[derive(Clone)]
pub struct SubresourceInfo {
    pub name: String,
    /// Its own group, version and kind, where it is not the parent's.
    pub group: String,
    pub version: String,
    pub kind: String,
    pub verbs: Vec<String>,
    pub handler: Subresource,
}

/// One served resource: what discovery says of it, and what answers it.
pub struct Resource {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub plural: String,
    pub singular: String,
    pub list_kind: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub namespaced: bool,
    pub verbs: Vec<String>,
    /// `None` for kinds that are answered and never stored (reviews).
    pub stored: Option<Stored>,
    pub format: Arc<Format>,
    /// Answers `create` (and what else its verbs say) of kinds that are not stored.
    pub endpoint: Option<Arc<dyn crate::server::Endpoint>>,
    pub subresources: Vec<SubresourceInfo>,
    /// Whether a deletion answers the object rather than a `Status`.
    pub returns_deleted: bool,
    /// What every request for this version is warned of.
    pub deprecation: Option<String>,
}

/// The stored side of a resource.
#[derive(Clone)]
pub struct Stored {
    pub model: Arc<StorageModel>,
    pub cache: Arc<crate::cache::ResourceCache>,
    /// The served format's index in the model.
    pub version: usize,
    pub behaviour: Arc<dyn Behaviour>,
}

impl Stored {
    /// Tells the cache that a whole object of this version was written here.
    pub(crate) fn written(&self, key: &str, revision: storage::Revision) {
        if self.version == self.model.storage_format {
            self.cache.written(&key[self.model.prefix.len()..], revision.0);
        }
    }
}

impl Resource {
    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }

    pub fn subresource(&self, name: &str) -> Option<&SubresourceInfo> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// The stored side, or the answer that this resource has none.
    pub fn stored(&self) -> Result<&Stored> {
        self.stored.as_ref().ok_or_else(Error::method_not_allowed)
    }

    /// Whether another resource has the same objects, in this version or another.
    pub fn same_storage(&self, other: &Resource) -> bool {
        match (&self.stored, &other.stored) {
            (Some(a), Some(b)) => Arc::ptr_eq(&a.model, &b.model),
            _ => std::ptr::eq(self, other),
        }
    }

    pub fn not_found(&self, name: &str) -> Error {
        Error::not_found(&self.group, &self.plural, name)
    }

    pub fn modified(&self, name: &str) -> Error {
        Error::modified(&self.group, &self.plural, name)
    }

    pub fn invalid(&self, name: &str, errors: &[api_types::FieldError]) -> Error {
        // Upstream validates internal types: a kind that is served in two groups is called by the one that stores it.
        let storage = self.stored.as_ref().map(|s| &s.model.formats[s.model.storage_format].group);
        Error::invalid(storage.unwrap_or(&self.group), &self.kind, name, errors)
    }
}

impl Form {
    pub fn new(version: usize, codec: Codec) -> Form {
        Form { version, codec }
    }
}
