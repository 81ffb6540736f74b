//! Get and list.

use std::{sync::Arc, time::Duration};

use http::{Response, StatusCode};
use serde_json::Value;
use storage::{Revision, StoreError};

use super::object_namespace;
use crate::{
    cache::{Entry, Form, Scope},
    codec,
    continue_token::{Token, expired},
    error::{Error, Result, from_store, too_new},
    model::{Resource, Stored},
    negotiate::{Accepted, Transform},
    options::{AtVersion, ListOptions},
    query::Query,
    respond,
    selector::Selector,
    server::{Body, Call, Core},
    table::{self, ListMeta},
};

/// How long a read waits for the cache to see what the store has acknowledged.
pub(super) const CATCH_UP: Duration = Duration::from_secs(3);

pub(super) async fn get(call: Call) -> Result<Response<Body>> {
    let accepted = respond::negotiate(call.request.headers(), &call.query, true)?;
    let resource = &call.resource;
    let stored = resource.stored()?;
    let entry = call.core.registry.get(resource, object_namespace(&call), &call.info.name).await?;
    if accepted.transform == Transform::None && !accepted.pretty && accepted.codec != crate::negotiate::Codec::Yaml {
        let bare = entry.bytes(Form::new(stored.version, accepted.codec))?;
        let body = codec::frame(&resource.format, accepted.codec, bare);
        return Ok(respond::bytes(StatusCode::OK, accepted.codec.content_type(), body));
    }
    let value = entry.value(stored.version)?;
    respond::object(StatusCode::OK, resource, &resource.format, &accepted, &call.query, &value)
}

/// One page of a list.
pub struct Page {
    pub entries: Vec<Arc<Entry>>,
    pub meta: ListMeta,
}

pub(super) async fn list(call: Call) -> Result<Response<Body>> {
    let accepted = respond::negotiate(call.request.headers(), &call.query, true)?;
    let options = ListOptions::parse(&call.query, false)?;
    let scope = Scope { namespace: object_namespace(&call).to_owned(), name: String::new() };
    let page = list_entries(&call.core, &call.resource, scope, &options).await?;
    let body = encode_list(&call.resource, &accepted, &call.query, &page)?;
    let kind = accepted.codec.content_type();
    Ok(respond::maybe_compressed(call.request.headers(), StatusCode::OK, kind, body))
}

fn encode_list(resource: &Resource, accepted: &Accepted, query: &Query, page: &Page) -> Result<bytes::Bytes> {
    let stored = resource.stored()?;
    let values = || page.entries.iter().map(|e| e.value(stored.version)).collect::<Result<Vec<Value>>>();
    match &accepted.transform {
        Transform::None => {
            let json = accepted.pretty || accepted.codec == crate::negotiate::Codec::Yaml;
            let codec = if json { crate::negotiate::Codec::Json } else { accepted.codec };
            let form = Form::new(stored.version, codec);
            let items = page.entries.iter().map(|e| e.bytes(form)).collect::<Result<Vec<_>>>()?;
            let list = respond::splice_list(&resource.format, &resource.list_kind, codec, &page.meta, &items);
            if json { codec::reencode_json(accepted, &list) } else { Ok(list) }
        }
        Transform::Table { version } => {
            let table = table::of_objects(resource, &values()?, version, query, &page.meta)?;
            codec::encode_json_value(accepted, &table)
        }
        Transform::Partial { version } => {
            let items: Vec<Value> = values()?.iter().map(|v| respond::partial(v, version)).collect();
            codec::encode_partial_list(accepted, version, &page.meta, items)
        }
    }
}

/// The entries that a list is about, from the cache where it can answer, else from the store.
pub async fn list_entries(core: &Core, resource: &Resource, mut scope: Scope, options: &ListOptions) -> Result<Page> {
    let stored = resource.stored()?;
    let selector = Selector::parse(stored, &resource.format, &options.labels, &options.fields)?;
    if let Some(name) = selector.name() {
        scope.name = name.to_owned();
    }
    if let Some(namespace) = selector.namespace()
        && scope.namespace.is_empty()
    {
        scope.namespace = namespace.to_owned();
    }
    if !options.continue_token.is_empty() {
        let token = Token::decode(&options.continue_token)?;
        return from_store_at(core, stored, &scope, &selector, options, token).await;
    }
    let hub = &core.registry.hub;
    match options.at {
        AtVersion::Newest => {
            hub.catch_up(CATCH_UP).await.map_err(|e| Error::timeout(e, 1))?;
        }
        AtVersion::Any => {}
        AtVersion::NotOlderThan(revision) => wait(core, revision).await?,
        AtVersion::Exact(revision) => {
            wait(core, revision).await?;
            let token = Token { revision: Some(revision), after: String::new() };
            return from_store_at(core, stored, &scope, &selector, options, token).await;
        }
    }
    let (entries, revision) = stored.cache.list(&scope);
    Ok(cut(entries, revision, &selector, options))
}

async fn wait(core: &Core, revision: u64) -> Result<()> {
    let hub = &core.registry.hub;
    hub.wait_for(revision, CATCH_UP).await.map_err(|_| too_new(revision, hub.revision()))
}

/// Applies selector and limit to a full state.
fn cut(entries: Vec<Arc<Entry>>, revision: u64, selector: &Selector, options: &ListOptions) -> Page {
    let mut meta = ListMeta { resource_version: revision.to_string(), ..ListMeta::default() };
    let mut entries: Vec<_> =
        if selector.is_all() { entries } else { entries.into_iter().filter(|e| selector.matches(e)).collect() };
    if options.limit > 0 && entries.len() > options.limit {
        let remaining = entries.len() - options.limit;
        entries.truncate(options.limit);
        if let Some(last) = entries.last() {
            meta.continue_token = Token { revision: Some(revision), after: last.key.clone() }.encode();
        }
        meta.remaining = selector.is_all().then_some(remaining as u64);
    }
    Page { entries, meta }
}

/// A page of the past, or what follows a continue token.
async fn from_store_at(
    core: &Core,
    stored: &Stored,
    scope: &Scope,
    selector: &Selector,
    options: &ListOptions,
    token: Token,
) -> Result<Page> {
    let model = &stored.model;
    let prefix =
        if scope.namespace.is_empty() { model.prefix.clone() } else { format!("{}{}/", model.prefix, scope.namespace) };
    let mut entries = Vec::new();
    let mut after = (!token.after.is_empty()).then(|| format!("{}{}", model.prefix, token.after));
    let mut at = token.revision.map(Revision);
    loop {
        let page = storage::ListOptions { at, after: after.clone(), limit: options.limit };
        let page = core.registry.store.list(&prefix, page).await;
        let page = page.map_err(|e| match &e {
            StoreError::Compacted { .. } if !options.continue_token.is_empty() => expired(&token.after),
            other => from_store(other),
        })?;
        at = Some(page.revision);
        after = page.items.last().map(|kv| kv.key.clone());
        for kv in page.items {
            let entry = Arc::new(Entry::new(model, &kv.key[model.prefix.len()..], kv.value, kv.mod_revision.0));
            if selector.matches(&entry) && (scope.name.is_empty() || entry.name() == scope.name) {
                entries.push(entry);
            }
        }
        let full = options.limit > 0 && entries.len() >= options.limit;
        if page.remaining == 0 || full {
            let mut meta = ListMeta { resource_version: page.revision.to_string(), ..ListMeta::default() };
            if page.remaining > 0
                && let Some(last) = &after
            {
                let token = Token { revision: Some(page.revision.0), after: last[model.prefix.len()..].to_owned() };
                meta.continue_token = token.encode();
                meta.remaining = selector.is_all().then_some(page.remaining);
            }
            return Ok(Page { entries, meta });
        }
    }
}
