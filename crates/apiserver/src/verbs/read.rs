//! Get and list.

use std::{sync::Arc, time::Duration};

use http::{Response, StatusCode};
use serde_json::Value;
use storage::{KeyValue, Revision, StoreError};

use super::object_namespace;
use crate::{
    cache::{Entry, Form, Room, Scope},
    codec,
    continue_token::{Token, expired},
    error::{Error, Result, from_store, too_new},
    list_body::ListBody,
    model::{Resource, Stored},
    negotiate::{Accepted, Codec, Transform},
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
    if accepted.transform == Transform::None && !accepted.pretty && accepted.codec != Codec::Yaml {
        let bare = entry.bytes(Form::new(stored.version, accepted.codec), Room::Make)?;
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
    let scope = Scope { namespace: object_namespace(&call).to_owned(), ..Scope::default() };
    let page = list_entries(&call.core, &call.resource, scope, &options).await?;
    let (request, kind) = (call.request.headers(), accepted.codec.content_type());
    if accepted.transform == Transform::None && !accepted.pretty && accepted.codec != Codec::Yaml {
        return list_body(&call.resource, accepted.codec, page)?.respond(request, kind);
    }
    let body = encode_list(&call.resource, &accepted, &call.query, page)?;
    Ok(respond::maybe_compressed(request, StatusCode::OK, kind, body))
}

/// The list from the bytes that the cache holds, none of them encoded again.
pub(super) fn list_body(resource: &Resource, codec: Codec, page: Page) -> Result<ListBody> {
    let form = Form::new(resource.stored()?.version, codec);
    ListBody::new(&resource.format, &resource.list_kind, form, &page.meta, page.entries)
}

/// A list in a form that is not at hand.
fn encode_list(resource: &Resource, accepted: &Accepted, query: &Query, page: Page) -> Result<bytes::Bytes> {
    let stored = resource.stored()?;
    let values = || page.entries.iter().map(|e| e.value(stored.version)).collect::<Result<Vec<Value>>>();
    match &accepted.transform {
        Transform::None => codec::reencode_json(accepted, &list_body(resource, Codec::Json, page)?.collect()?),
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
pub async fn list_entries(core: &Core, resource: &Resource, scope: Scope, options: &ListOptions) -> Result<Page> {
    let stored = resource.stored()?;
    let selector = Selector::parse(stored, &resource.format, &options.labels, &options.fields)?;
    let mut scope = selector.narrow(scope);
    if limit(options) > 0 || stored.model.converter().is_some() {
        // A page says whether anything follows it, wanted or not. What has to be converted shows what it has only then.
        scope.term = None;
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
    let (mut entries, revision) = stored.cache.list(&scope);
    if !selector.is_all() {
        entries = stored.shown(entries).await?;
    }
    let page = cut(entries, revision, &selector, options);
    Ok(Page { entries: stored.shown(page.entries).await?, meta: page.meta })
}

async fn wait(core: &Core, revision: u64) -> Result<()> {
    let hub = &core.registry.hub;
    hub.wait_for(revision, CATCH_UP).await.map_err(|_| too_new(revision, hub.revision()))
}

/// How many entries a page has at most, 0 for all. Whoever takes any version gets all of it, as from upstream's watch cache.
fn limit(options: &ListOptions) -> usize {
    if matches!(options.at, AtVersion::Any) { 0 } else { options.limit }
}

/// Applies selector and limit to a full state.
fn cut(entries: Vec<Arc<Entry>>, revision: u64, selector: &Selector, options: &ListOptions) -> Page {
    let mut meta = ListMeta { resource_version: revision.to_string(), ..ListMeta::default() };
    let mut rest = entries.into_iter();
    let matching = rest.by_ref().filter(|e| selector.matches(e));
    let limit = limit(options);
    let entries: Vec<_> = if limit > 0 { matching.take(limit).collect() } else { matching.collect() };
    // There is more as soon as anything follows, whether it matches or not: as if it were read from the store.
    let remaining = rest.len();
    if remaining > 0
        && let Some(last) = entries.last()
    {
        meta.continue_token = Token { revision: Some(revision), after: last.key.to_string() }.encode();
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
        let entry = |kv: KeyValue| stored.entry_of(&kv.key[model.prefix.len()..], kv.value, kv.mod_revision.0);
        let shown = stored.shown(page.items.into_iter().map(entry).collect()).await?;
        let mut items = shown.into_iter();
        let mut full = false;
        for entry in items.by_ref() {
            after = Some(format!("{}{}", model.prefix, entry.key));
            if selector.matches(&entry) && (scope.name.is_empty() || entry.name() == scope.name) {
                entries.push(entry);
            }
            full = options.limit > 0 && entries.len() == options.limit;
            if full {
                break;
            }
        }
        let remaining = page.remaining + items.len() as u64;
        if remaining == 0 || full {
            let mut meta = ListMeta { resource_version: page.revision.to_string(), ..ListMeta::default() };
            if remaining > 0
                && let Some(last) = &after
            {
                let token = Token { revision: Some(page.revision.0), after: last[model.prefix.len()..].to_owned() };
                meta.continue_token = token.encode();
                meta.remaining = selector.is_all().then_some(remaining);
            }
            return Ok(Page { entries, meta });
        }
    }
}
