//! A place for the server's core, for parts that are made before it: behaviours and admission plugins read other objects.

use std::sync::{Arc, OnceLock};

use apiserver::{
    cache::Scope,
    error::{Error, Result},
    model::Resource,
    server::Core,
};
use serde_json::Value;

/// Clones share the core, once it is there.
#[derive(Clone, Default)]
pub(crate) struct CoreCell(Arc<OnceLock<Arc<Core>>>);

impl CoreCell {
    /// Called once, before the first request.
    pub(crate) fn set(&self, core: Arc<Core>) {
        self.0.get_or_init(|| core);
    }

    pub(crate) fn core(&self) -> Result<&Arc<Core>> {
        self.0.get().ok_or_else(|| Error::service_unavailable("the server is starting"))
    }

    /// A resource in its preferred version.
    pub(crate) fn resource(&self, group: &str, plural: &str) -> Result<Arc<Resource>> {
        self.core()?.catalog.preferred(group, plural).ok_or_else(Error::no_such_path)
    }

    /// An object as the cache knows it; the cache may be a moment behind.
    pub(crate) fn cached(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Result<Option<Arc<Value>>> {
        let resource = self.resource(group, plural)?;
        self.core()?.registry.cached(&resource, namespace, name)
    }

    /// An object: from the cache, and where that has none, from the store.
    pub(crate) async fn find(
        &self,
        group: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Value>>> {
        if let Some(object) = self.cached(group, plural, namespace, name)? {
            return Ok(Some(object));
        }
        let resource = self.resource(group, plural)?;
        match self.core()?.registry.get_value(&resource, namespace, name).await {
            Ok(object) => Ok(Some(Arc::new(object))),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// All objects of a namespace ("" for all), as the cache knows them.
    pub(crate) fn list(&self, group: &str, plural: &str, namespace: &str) -> Result<Vec<Arc<Value>>> {
        let resource = self.resource(group, plural)?;
        let stored = resource.stored()?;
        let scope = Scope { namespace: namespace.to_owned(), ..Scope::default() };
        stored.cache.list(&scope).0.iter().map(|entry| entry.kept_value(stored.version)).collect()
    }
}
