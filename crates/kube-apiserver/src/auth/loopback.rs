//! The API server as its own client: authentication and authorization look at live objects through the same door as
//! everybody, with the identity that the server gives itself.

use std::{
    fmt::Debug,
    sync::{Arc, OnceLock},
};

use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

/// A client that is set once the server can be asked.
#[derive(Clone, Default)]
pub(crate) struct Loopback(Arc<OnceLock<Client>>);

impl Loopback {
    pub(crate) fn set(&self, client: Client) {
        if self.0.set(client).is_err() {
            tracing::warn!("the loopback client was set twice");
        }
    }

    fn client(&self) -> Result<Client, String> {
        self.0.get().cloned().ok_or_else(|| "the server is starting".to_owned())
    }

    pub(crate) async fn get_in<K>(&self, namespace: &str, name: &str) -> Result<Option<K>, String>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client()?, namespace);
        api.get_opt(name).await.map_err(|error| error.to_string())
    }

    pub(crate) async fn get<K>(&self, name: &str) -> Result<Option<K>, String>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::all(self.client()?);
        api.get_opt(name).await.map_err(|error| error.to_string())
    }
}
