//! The generic registry: what create, update and delete mean for every kind.
//!
//! Values that come in are decoded and defaulted; what goes out is the object as stored, in the served version. The store's
//! compare-and-swap is the only lock: a lost race is run again from the fresh object, unless the client named the
//! version that it had seen.

mod create;
mod delete;
mod fields;
mod update;

use std::sync::Arc;

use api_semantics::Context;
use serde_json::Value;
use storage::{KeyValue, Revision, Store};

pub use create::check_namespace;
pub use delete::Deleted;
pub use fields::Manager;
pub use update::{Change, Create, Make, Outcome, Written};

use crate::{
    admission::AdmissionChain,
    cache::{Entry, Hub},
    error::{Result, from_store},
    model::Resource,
    user::UserInfo,
    warnings::Warnings,
};

/// Who writes, and how.
#[derive(Clone)]
pub struct Writer {
    pub user: UserInfo,
    pub warnings: Warnings,
    pub dry_run: bool,
    /// Who owns the fields that are written.
    pub manager: String,
    /// Whether this is an apply: the objects that come in have their managed fields already.
    pub applied: bool,
}

impl Writer {
    /// The server itself.
    pub fn system() -> Writer {
        Writer {
            user: UserInfo::new("system:apiserver", &[crate::user::MASTERS, crate::user::ALL_AUTHENTICATED]),
            warnings: Warnings::default(),
            dry_run: false,
            manager: "kube-apiserver".to_owned(),
            applied: false,
        }
    }

    fn context(&self) -> Context {
        Context {
            now: Some(component_base::clock::now()),
            username: self.user.name.clone(),
            uid: self.user.uid.clone(),
            groups: self.user.groups.clone(),
            extra: self.user.extra.clone(),
        }
    }
}

/// See the module.
pub struct Registry {
    pub store: Arc<dyn Store>,
    pub hub: Arc<Hub>,
    pub admission: AdmissionChain,
}

impl Registry {
    /// The object as the store has it now, in the served version. Cached bytes are used when they are current.
    pub async fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Result<Arc<Entry>> {
        let stored = resource.stored()?;
        let key = stored.model.key(namespace, name);
        let (kv, _) = self.store.get(&key).await.map_err(|e| from_store(&e))?;
        let kv = kv.ok_or_else(|| resource.not_found(name))?;
        let entry = stored.entry_of(&key[stored.model.prefix.len()..], kv.value, kv.mod_revision.0);
        stored.shown(vec![entry]).await?.pop().ok_or_else(|| resource.not_found(name))
    }

    /// The object in the served version.
    pub async fn get_value(&self, resource: &Resource, namespace: &str, name: &str) -> Result<Value> {
        self.get(resource, namespace, name).await?.value(resource.stored()?.version)
    }

    /// An object as far as the cache knows it: for admission and other checks that tolerate a moment's delay. Not for custom resources, which may
    /// have to be converted: see [`Registry::known`].
    pub fn cached(&self, resource: &Resource, namespace: &str, name: &str) -> Result<Option<Arc<Value>>> {
        let stored = resource.stored()?;
        let key = if stored.model.namespaced { format!("{namespace}/{name}") } else { name.to_owned() };
        stored.cache.get(&key).0.map(|entry| entry.kept_value(stored.version)).transpose()
    }

    async fn read(&self, key: &str) -> Result<Option<KeyValue>> {
        Ok(self.store.get(key).await.map_err(|e| from_store(&e))?.0)
    }
}

fn with_revision(mut object: Value, revision: Revision) -> Value {
    crate::meta::set(&mut object, "resourceVersion", revision.0.to_string().into());
    object
}
