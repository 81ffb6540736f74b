//! Server-side apply and the tracking of field owners (`metadata.managedFields`).
//!
//! [`apply`] lays an applied configuration over the live object, refuses what others own ([conflicts](ApiError)) unless
//! forced, and removes what the manager gave up. [`track_update`] records every other write. Both take normalized
//! objects and leave times to the caller.
//!
//! An owner's set that was written in another version of the kind is read as if it were in the request's version: paths
//! differ between versions for few fields only.

mod field_set;
mod managed;
mod overlay;
mod typed;

pub use field_set::FieldSet;
pub use overlay::overlay;
pub use typed::TypedError;

use std::sync::LazyLock;

use api_types::schema::{Type, normalize_as_printed, zero};
use api_types::{ApiError, json};
use jiff::Timestamp;
use serde_json::Value;

use managed::{Managed, Manager, Owned};
use typed::Comparison;

/// Owns what was there before the first apply to an object without owners.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// Where kubectl's client-side apply keeps the configuration.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The manager that server-side apply of kubectl uses; it may take over fields of client-side apply.
const KUBECTL: &str = "kubectl";
/// A larger annotation is not kept.
const MAX_ANNOTATION: usize = 256 * 1024;

/// Who writes, and how.
#[derive(Clone, Debug)]
pub struct Write<'a> {
    pub manager: &'a str,
    /// The request's group and version (`apps/v1`).
    pub api_version: &'a str,
    /// Empty for the main resource.
    pub subresource: &'a str,
    /// The fields that this (sub)resource resets, which its writers therefore never own.
    pub resets: &'a FieldSet,
    pub now: Timestamp,
}

/// The fields that nobody owns.
static UNOWNED: LazyLock<FieldSet> = LazyLock::new(|| {
    FieldSet::of_fields(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
});

impl Write<'_> {
    fn manager(&self, applies: bool) -> Manager {
        Manager {
            name: self.manager.to_owned(),
            applies,
            api_version: if applies { String::new() } else { self.api_version.to_owned() },
            subresource: self.subresource.to_owned(),
        }
    }
}

// === updates ===

/// Records the owner of what a create, update or patch changed. `old` is absent on create. Leaves the entries in `new`.
/// `new` may be as sent.
pub fn track_update(schema: &Type, old: Option<&Value>, new: &mut Value, write: &Write<'_>) {
    let mut managed = entries_for_update(old, new, write);
    managed::strip(new);
    let nothing;
    let before = match old {
        Some(old) => old,
        None => {
            nothing = zero(schema);
            &nothing
        }
    };
    let changed = typed::changed_members(before, new);
    let keyless = |object: &Value| typed::has_keyless_items(object, schema);
    // An object that has owners was looked at when they were recorded.
    let tracked = old.is_some_and(|old| managed::of_object(old).is_some_and(|live| !live.is_empty()));
    let mut after = members_of(new, &changed);
    if keyless(if tracked { &after } else { new }) || (!tracked && old.is_some_and(keyless)) {
        return;
    }
    if managed.is_empty() && old.is_some() {
        // An object that was never tracked is not tracked from an update on; its first apply begins.
        return;
    }
    normalize_as_printed(&mut after, schema);
    record(typed::compare_members(before, &after, &changed, schema), &mut managed, write);
    managed::cap(&mut managed);
    managed::write(&managed, new);
}

/// These members of an object.
fn members_of(object: &Value, names: &[String]) -> Value {
    let member = |name: &String| Some((name.clone(), object.get(name)?.clone()));
    Value::Object(names.iter().filter_map(member).collect())
}

/// The entries that a write starts from: those in the request, or else those of the live object.
fn entries_for_update(old: Option<&Value>, new: &Value, write: &Write<'_>) -> Managed {
    let live = || old.and_then(managed::of_object).unwrap_or_default();
    if !write.subresource.is_empty() {
        return live();
    }
    if managed::is_reset(new) {
        return Managed::new();
    }
    match managed::of_object(new) {
        Some(managed) if !managed.is_empty() => managed,
        _ => live(),
    }
}

/// Takes changed fields from everybody and gives them to the writer.
fn record(changes: Comparison, managed: &mut Managed, write: &Write<'_>) {
    take_over(managed, None, &changes);
    let changes = changes.without(write.resets);
    let taken = changes.modified.union(changes.added).difference(&UNOWNED);
    if taken.is_empty() {
        return;
    }
    let manager = write.manager(false);
    let owned = managed.remove(&manager).map(|owned| owned.set).unwrap_or_default();
    let set = owned.union(taken);
    let time = Some(managed::timestamp(&write.now));
    managed.insert(manager, Owned { set, api_version: write.api_version.to_owned(), time });
}

/// Removes changed and vanished fields from all managers but one; managers without fields go.
fn take_over(managed: &mut Managed, except: Option<&Manager>, changes: &Comparison) {
    for (manager, owned) in managed.iter_mut() {
        if Some(manager) != except {
            for taken in [&changes.modified, &changes.added, &changes.removed].into_iter().filter(|set| !set.is_empty())
            {
                owned.set = std::mem::take(&mut owned.set).difference(taken);
            }
        }
    }
    managed.retain(|_, owned| !owned.set.is_empty());
}

// === apply ===

/// What is applied, to what.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub schema: &'a Type,
    /// Absent when the apply creates the object.
    pub live: Option<&'a Value>,
    /// The configuration as sent, not normalized.
    pub applied: &'a Value,
    pub force: bool,
}

/// The object after the apply, with its owners, normalized (defaults are the caller's). On conflict the 409 that names
/// the owners.
pub fn apply(request: Request<'_>, write: &Write<'_>) -> Result<Value, ApiError> {
    check_configuration(&request, write)?;
    let mut managed = request.live.and_then(managed::of_object).unwrap_or_default();
    let mut live = request.live.cloned().unwrap_or_else(|| zero(request.schema));
    managed::strip(&mut live);
    if managed.is_empty() && request.live.is_some() {
        let adopt = Write { manager: BEFORE_FIRST_APPLY, subresource: "", ..*write };
        let all = typed::compare(&zero(request.schema), &live, request.schema);
        record(all, &mut managed, &adopt);
    }
    let outcome = match merge_configuration(&request, write, &live, &managed, request.force) {
        Err(conflicts) if may_take_over(&conflicts, request.schema, &live, write) => {
            merge_configuration(&request, write, &live, &managed, true)
        }
        other => other,
    };
    let (merged, managed) = outcome.map_err(|conflicts| conflict_error(&conflicts))?;
    let mut object = decode_merged(&request, merged)?;
    keep_last_applied(&request, write, &mut object);
    managed::write(&managed, &mut object);
    Ok(object)
}

/// What one owner would lose.
struct Conflict {
    owner: Manager,
    set: FieldSet,
}

fn merge_configuration(
    request: &Request<'_>,
    write: &Write<'_>,
    live: &Value,
    managed: &Managed,
    force: bool,
) -> Result<(Value, Managed), Vec<Conflict>> {
    let schema = request.schema;
    let me = write.manager(true);
    let before = managed.clone();
    let mut managed = managed.clone();
    let last = managed.get(&me).cloned();
    let set = typed::field_set(request.applied, schema).without_trees(write.resets).difference(&UNOWNED);
    let mine = Owned { set, api_version: write.api_version.to_owned(), time: Some(managed::timestamp(&write.now)) };
    managed.insert(me.clone(), mine);
    let merged = typed::merge(live, request.applied, schema);
    let merged = match &last {
        Some(last) => prune(merged, &managed, &last.set, schema),
        None => merged,
    };
    let changes = typed::compare(live, &merged, schema).without(write.resets);
    let changed = changes.modified.clone().union(changes.added.clone());
    let conflicts: Vec<Conflict> = managed
        .iter()
        .filter(|(owner, _)| **owner != me)
        .map(|(owner, owned)| Conflict { owner: owner.clone(), set: owned.set.clone().intersection(&changed) })
        .filter(|conflict| !conflict.set.is_empty())
        .collect();
    if !force && !conflicts.is_empty() {
        return Err(conflicts);
    }
    take_over(&mut managed, Some(&me), &changes);
    if let (Some(last), Some(mine)) = (last, managed.get_mut(&me))
        && changes.is_same()
        && last.set == mine.set
        && last.api_version == mine.api_version
    {
        mine.time = last.time;
    }
    if managed.len() == before.len() && changes.is_same() && same_sets(&before, &managed) {
        managed = before;
    }
    Ok((merged, managed))
}

fn same_sets(a: &Managed, b: &Managed) -> bool {
    a.iter().zip(b).all(|((m, o), (n, p))| m == n && o.set == p.set && o.api_version == p.api_version)
}

/// Removes what the manager applied last time and does not apply now, unless somebody else owns it.
fn prune(merged: Value, managed: &Managed, last: &FieldSet, schema: &Type) -> Value {
    if last.is_empty() {
        return merged;
    }
    let members = |value: &Value| typed::named_members(&typed::field_set(value, schema), schema);
    let last = typed::named_members(last, schema);
    let pruned = typed::remove(&merged, &last, schema);
    let all = members(&merged);
    let owned = managed.values().fold(FieldSet::default(), |all, owned| all.union(owned.set.clone()));
    let owned = typed::named_members(&owned, schema);
    // What somebody owns comes back ...
    let pruned = typed::remove(&merged, &all.clone().difference(&members(&pruned)).difference(&owned), schema);
    // ... and what stood below a removed field without belonging to the manager.
    typed::remove(&merged, &all.difference(&members(&pruned)).intersection(&last), schema)
}

/// The merged object in the schema's form.
fn decode_merged(request: &Request<'_>, merged: Value) -> Result<Value, ApiError> {
    match json::decode_value(&merged, request.schema) {
        Ok(decoded) => Ok(decoded.value),
        Err(error) => {
            let kind = kind_text(request.applied);
            let detail = match error.to_string() {
                text if text.starts_with("illegal base64") => format!("error decoding from json: {text}"),
                text => text,
            };
            Err(ApiError::new(
                500,
                "",
                format!(
                    "failed to convert new object ({}; {kind}) to proper version: unable to convert unstructured object to {kind}: {detail}",
                    object_name(request.applied)
                ),
            ))
        }
    }
}

/// `apps/v1, Kind=Deployment`.
fn kind_text(object: &Value) -> String {
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    let api_version = text("apiVersion");
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={}", text("kind"))
}

fn object_name(object: &Value) -> String {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    format!("{}/{}", text("/metadata/namespace"), text("/metadata/name"))
}

fn check_configuration(request: &Request<'_>, write: &Write<'_>) -> Result<(), ApiError> {
    let applied = request.applied;
    if applied.pointer("/metadata/managedFields").is_some_and(|m| m.as_array().is_none_or(|m| !m.is_empty())) {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    let version = applied.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    if version != write.api_version {
        return Err(ApiError::bad_request(format!(
            "Incorrect version specified in apply patch. Specified patch version: {version}, expected: {}",
            write.api_version
        )));
    }
    let errors = typed::check(applied, request.schema);
    let text = match errors.as_slice() {
        [] => return Ok(()),
        [only] => only.to_string(),
        many => {
            let lines: Vec<String> = many.iter().map(|e| format!("  {e}")).collect();
            format!("errors:\n{}", lines.join("\n"))
        }
    };
    Err(ApiError::new(
        500,
        "",
        format!("failed to create typed patch object ({}; {}): {text}", object_name(applied), kind_text(applied)),
    ))
}

// === conflicts ===

fn conflict_error(conflicts: &[Conflict]) -> ApiError {
    let mut error = ApiError::new(409, "Conflict", conflict_message(conflicts));
    let causes = &mut error.details_mut().causes;
    for conflict in conflicts {
        for field in conflict.set.paths() {
            causes.push(api_types::Cause {
                reason: "FieldManagerConflict".to_owned(),
                message: format!("conflict with {}", conflict.owner.shown()),
                field,
            });
        }
    }
    error
}

fn conflict_message(conflicts: &[Conflict]) -> String {
    let count: usize = conflicts.iter().map(|c| c.set.paths().len()).sum();
    if count == 1 {
        let (owner, path) = (conflicts[0].owner.shown(), conflicts[0].set.paths().join(""));
        return format!("Apply failed with 1 conflict: conflict with {owner}: {path}");
    }
    let mut lines = Vec::new();
    for conflict in conflicts {
        lines.push(format!("conflicts with {}:", conflict.owner.shown()));
        lines.extend(conflict.set.paths().iter().map(|path| format!("- {path}")));
    }
    format!("Apply failed with {count} conflicts: {}", lines.join("\n"))
}

// === kubectl's client-side apply ===

/// Whether all conflicts are about fields that client-side apply set to their present values: kubectl's server-side
/// apply takes those over.
fn may_take_over(conflicts: &[Conflict], schema: &Type, live: &Value, write: &Write<'_>) -> bool {
    if write.manager != KUBECTL {
        return false;
    }
    let Some(last) = last_applied(live) else { return false };
    let differing = typed::compare(&last, live, schema);
    let allowed = typed::field_set(&last, schema).difference(&differing.modified).difference(&differing.removed);
    conflicts.iter().all(|conflict| conflict.set.clone().difference(&allowed).is_empty())
}

fn last_applied(object: &Value) -> Option<Value> {
    let text = object.get("metadata")?.get("annotations")?.get(LAST_APPLIED)?.as_str()?;
    serde_json::from_str(text).ok()
}

/// Keeps the annotation of client-side apply up to date while kubectl applies server-side.
fn keep_last_applied(request: &Request<'_>, write: &Write<'_>, object: &mut Value) {
    if write.manager != KUBECTL || request.live.and_then(last_applied).is_none() {
        return;
    }
    let mut configuration = request.applied.clone();
    if let Some(annotations) = configuration.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    let text = format!("{configuration}\n");
    if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut)
        && text.len() <= MAX_ANNOTATION
    {
        annotations.insert(LAST_APPLIED.to_owned(), Value::String(text));
    }
}

#[cfg(test)]
mod tests;
