//! What answers subresources and kinds that are no stored objects: one row each.

mod binding;
mod eviction;
mod reviews;
mod token;

use std::{collections::BTreeMap, sync::Arc};

use apiserver::{
    error::{Error, Result},
    server::{Body, Call, Endpoint},
};
use async_trait::async_trait;
use http::Response;

use crate::{auth::Auth, cell::CoreCell};

/// By (group, resource, subresource); "" for the resource itself.
pub(crate) type Table = BTreeMap<(&'static str, &'static str, &'static str), Arc<dyn Endpoint>>;

pub(crate) fn table(auth: &Arc<Auth>, core: &CoreCell) -> Table {
    let binding: Arc<dyn Endpoint> = Arc::new(binding::Binding);
    let reviews: Arc<dyn Endpoint> = Arc::new(reviews::Review(Arc::clone(auth)));
    let mut table: Table = BTreeMap::from([
        (("", "pods", "binding"), Arc::clone(&binding)),
        (("", "bindings", ""), binding),
        (("", "pods", "eviction"), Arc::new(eviction::Eviction(core.clone()))),
        (("", "serviceaccounts", "token"), Arc::new(token::Token(Arc::clone(auth))) as Arc<dyn Endpoint>),
    ]);
    for (group, resource) in reviews::KINDS {
        table.insert((group, resource, ""), Arc::clone(&reviews));
    }
    table
}

/// Answers what is published and not there yet.
pub(crate) struct Missing;

#[async_trait]
impl Endpoint for Missing {
    async fn serve(&self, call: Call) -> Result<Response<Body>> {
        let mut what = call.info.resource.clone();
        if !call.info.subresource.is_empty() {
            what = format!("{what}/{}", call.info.subresource);
        }
        Err(Error::new(501, "NotImplemented", format!("{} {what} is not implemented by this server", call.info.verb)))
    }
}
