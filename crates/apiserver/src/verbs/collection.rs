//! Delete of a whole collection: a list, and a deletion of each of its items.

use futures::{FutureExt, StreamExt, stream};
use http::{Response, StatusCode};

use super::{
    delete, object_namespace,
    read::{list_body, list_entries},
    writer,
};
use crate::{
    cache::Scope,
    error::Result,
    negotiate::Codec,
    options::ListOptions,
    registry::Deleted,
    respond,
    server::{Body, Call},
};

/// Deletions in flight at once.
const PARALLEL: usize = 16;

pub(super) async fn delete_collection(mut call: Call) -> Result<Response<Body>> {
    let accepted = respond::negotiate(call.request.headers(), &call.query, true)?;
    let options = delete::options(&mut call).await?;
    let list = ListOptions::parse(&call.query, false)?;
    let scope = Scope { namespace: object_namespace(&call).to_owned(), ..Scope::default() };
    let page = list_entries(&call.core, &call.resource, scope, &list).await?;
    let writer = writer(&call, options.dry_run, "");
    let (registry, resource) = (&call.core.registry, &call.resource);
    let mut deletions = Vec::with_capacity(page.entries.len());
    for entry in &page.entries {
        deletions.push(registry.delete(resource, entry.namespace(), entry.name(), &options, &writer).boxed());
    }
    let results: Vec<Result<Deleted>> = stream::iter(deletions).buffered(PARALLEL).collect().await;
    for result in results {
        match result {
            Err(e) if !e.is_not_found() => return Err(e),
            _ => {}
        }
    }
    let codec = if accepted.codec == Codec::Protobuf { Codec::Protobuf } else { Codec::Json };
    let mut body = list_body(resource, codec, page)?.collect()?;
    if codec == Codec::Json {
        body = crate::codec::reencode_json(&accepted, &body)?;
    }
    Ok(respond::bytes(StatusCode::OK, accepted.codec.content_type(), body))
}
