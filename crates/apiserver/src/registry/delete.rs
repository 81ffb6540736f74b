//! Deleting an object: at once, gracefully, or when its finalizers are done.

use serde_json::Value;
use storage::{KeyValue, Revision, StoreError};

use super::{Registry, Writer, with_revision};
use crate::{
    admission::{Attributes, Operation, Reinvocation},
    error::{Error, Result, from_store},
    meta,
    model::{Format, Resource, Stored},
    options::{DeleteOptions, Propagation},
};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// The outcome of a deletion.
#[derive(Debug)]
pub struct Deleted {
    /// The object in its last, or its terminating, state.
    pub object: Value,
    /// Whether it is gone.
    pub gone: bool,
}

/// What a deletion does to the object as it is.
#[derive(Debug, PartialEq)]
enum Plan {
    /// Goes away; this is the state that is answered.
    Remove(Value),
    /// Stays for now in this state.
    Mark(Value),
    /// Is terminating already, and nothing changes.
    Leave,
}

impl Registry {
    pub async fn delete(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
        writer: &Writer,
    ) -> Result<Deleted> {
        let stored = resource.stored()?;
        let key = stored.model.key(namespace, name);
        let mut current = self.read(&key).await?;
        loop {
            let kv = current.ok_or_else(|| resource.not_found(name))?;
            let object = stored.object(&kv).await?;
            check_preconditions(stored.model.storage(), &object, options)?;
            let attributes = Attributes {
                operation: Operation::Delete,
                resource,
                subresource: "",
                namespace,
                name,
                generate_name: "",
                old: Some(&object),
                user: &writer.user,
                dry_run: options.dry_run,
                warnings: &writer.warnings,
                kind: None,
                reinvocation: Reinvocation::default(),
            };
            self.admission.mutate(&attributes, &mut Value::Null).await?;
            self.admission.validate(&attributes, &Value::Null).await?;
            let plan = plan(stored, &object, options, component_base::clock::now());
            match self.carry_out(stored, &kv, object, plan, options).await? {
                Ok(deleted) => return Ok(deleted),
                Err(now) => current = now,
            }
        }
    }

    /// `Err` holds what is there instead, when another write came between.
    async fn carry_out(
        &self,
        stored: &Stored,
        kv: &KeyValue,
        object: Value,
        plan: Plan,
        options: &DeleteOptions,
    ) -> Result<std::result::Result<Deleted, Option<KeyValue>>> {
        let (gone, written) = match plan {
            Plan::Leave => return Ok(Ok(Deleted { object, gone: false })),
            Plan::Remove(last) if options.dry_run => return Ok(Ok(Deleted { object: last, gone: true })),
            Plan::Mark(marked) if options.dry_run => return Ok(Ok(Deleted { object: marked, gone: false })),
            Plan::Remove(last) => (true, (last, self.store.delete(&kv.key, kv.mod_revision).await)),
            Plan::Mark(mut marked) => {
                let bytes = stored.to_stored(&mut marked).await?;
                let ttl = stored.behaviour.time_to_live();
                (false, (marked, self.store.put(&kv.key, bytes, kv.mod_revision, ttl).await))
            }
        };
        match written {
            (object, Ok(revision)) => {
                if gone {
                    stored.behaviour.release(&object).await;
                }
                let object = if gone { object } else { with_revision(object, revision) };
                Ok(Ok(Deleted { object, gone }))
            }
            (_, Err(StoreError::Conflict { current, .. })) => Ok(Err(current)),
            (_, Err(e)) => Err(from_store(&e)),
        }
    }
}

/// Uid and resource version, where the client names them, are the object's. Errors name the kind that is stored, whatever the version of the
/// request: events are of the core group in all of theirs.
fn check_preconditions(kind: &Format, object: &Value, options: &DeleteOptions) -> Result<()> {
    let name = meta::name(object);
    if let Some(wanted) = options.uid.as_deref()
        && wanted != meta::uid(object)
    {
        let uid = meta::uid(object);
        let why = format!(
            "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
        );
        return Err(Error::conflict(&kind.group, &kind.kind, name, &why));
    }
    if let Some(wanted) = options.resource_version.as_deref()
        && wanted.parse::<u64>().ok().map(Revision) != meta::resource_version(object).parse().ok().map(Revision)
    {
        let version = meta::resource_version(object);
        let why = format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({version}). The object might have been modified"
        );
        return Err(Error::conflict(&kind.group, &kind.kind, name, &why));
    }
    Ok(())
}

/// The pure decision: what this deletion does.
fn plan(stored: &Stored, object: &Value, options: &DeleteOptions, now: jiff::Timestamp) -> Plan {
    let behaviour = &stored.behaviour;
    let mut marked = object.clone();
    let finalizers = wanted_finalizers(object, options, behaviour.default_propagation());
    let finalizers_change = finalizers != meta::finalizers(object);
    meta::set_finalizers(&mut marked, &finalizers);
    let grace = behaviour.grace_period(object, options.grace_period);
    let held = !finalizers.is_empty() || behaviour.is_held(object);
    if meta::is_terminating(object) {
        let shortened = grace.is_some_and(|grace| shorten(&mut marked, object, grace));
        if !held && grace.is_none_or(|g| g == 0) && meta::grace_period(&marked).unwrap_or(0) == 0 {
            return Plan::Remove(marked);
        }
        return if shortened || finalizers_change { Plan::Mark(marked) } else { Plan::Leave };
    }
    if grace.is_none() && !held {
        return Plan::Remove(marked);
    }
    let grace = grace.unwrap_or(0).max(0);
    let end = now.saturating_add(jiff::SignedDuration::from_secs(grace)).unwrap_or(now);
    meta::set(&mut marked, "deletionTimestamp", meta::timestamp(end));
    meta::set(&mut marked, "deletionGracePeriodSeconds", grace.into());
    if meta::generation(&marked) > 0 {
        let generation = meta::generation(&marked) + 1;
        meta::set(&mut marked, "generation", generation.into());
    }
    behaviour.mark_terminating(&mut marked, object);
    if grace == 0 && !held { Plan::Remove(marked) } else { Plan::Mark(marked) }
}

/// A second deletion may shorten the grace period, never lengthen it.
fn shorten(marked: &mut Value, object: &Value, grace: i64) -> bool {
    let current = meta::grace_period(object).unwrap_or(0);
    if grace >= current {
        return false;
    }
    let end = meta::get(object, "deletionTimestamp").and_then(meta::parse_timestamp);
    let end = end.and_then(|end| end.checked_sub(jiff::SignedDuration::from_secs(current - grace)).ok());
    if let Some(end) = end {
        meta::set(marked, "deletionTimestamp", meta::timestamp(end));
    }
    meta::set(marked, "deletionGracePeriodSeconds", grace.into());
    true
}

/// The finalizers with the garbage collector's own among them as the options ask.
fn wanted_finalizers(object: &Value, options: &DeleteOptions, default: Propagation) -> Vec<String> {
    let mut finalizers = meta::finalizers(object);
    let has = |name: &str| finalizers.iter().any(|f| f == name);
    let asked = options.propagation.or(match options.orphan_dependents {
        Some(true) => Some(Propagation::Orphan),
        Some(false) => Some(Propagation::Background),
        None => None,
    });
    let policy = match asked {
        Some(policy) => policy,
        None if has(ORPHAN) => Propagation::Orphan,
        None if has(FOREGROUND) => Propagation::Foreground,
        None => default,
    };
    finalizers.retain(|f| f != ORPHAN && f != FOREGROUND);
    match policy {
        Propagation::Orphan => finalizers.push(ORPHAN.to_owned()),
        Propagation::Foreground => finalizers.push(FOREGROUND.to_owned()),
        Propagation::Background => {}
    }
    finalizers
}
