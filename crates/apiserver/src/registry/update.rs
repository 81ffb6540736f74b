//! Changing an object: update, patch, and every subresource that writes its parent.

use api_semantics::Part;
use api_types::{FieldError, Path};
use bytes::Bytes;
use serde_json::Value;
use storage::{KeyValue, Revision, StoreError};

use super::{Registry, Writer, create::check_namespace, fields::Manager, with_revision};
use crate::{
    admission::{Attributes, Operation, Reinvocation},
    error::{Error, Result, from_store},
    meta,
    model::{Resource, Stored},
};

/// The wanted object from the present one (`None`: there is none), decoded and defaulted.
pub type Make<'a> = Box<dyn Fn(Option<&Value>) -> Result<Value> + Send + Sync + 'a>;

/// What to change, worked out anew from each state of the object that is met.
pub struct Change<'a> {
    pub part: Part,
    /// The subresource's name, "" for the object itself.
    pub subresource: &'a str,
    pub make: Make<'a>,
    /// The server's own changes that make nobody an owner.
    pub keeps_owners: bool,
    /// Whether an object that is not there is created: always (apply), or as the kind says (update).
    pub create: Create,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    Never,
    IfKindAllows,
    Always,
}

/// The object as it now is.
#[derive(Debug)]
pub struct Outcome {
    pub object: Value,
    pub created: bool,
    /// What was stored of it; `None` if nothing was.
    pub written: Option<Written>,
}

/// An object's bytes in the store.
#[derive(Debug)]
pub struct Written {
    pub stored: Bytes,
    pub revision: Revision,
}

/// How one attempt ended.
enum Attempt {
    Done(Value, Option<Written>),
    /// Somebody else wrote in between; what is there now.
    Lost(Option<KeyValue>),
}

impl Registry {
    /// Changes the object `name`. Runs again when another write came between, unless the wanted object names a resource
    /// version.
    pub async fn update(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        change: &Change<'_>,
        writer: &Writer,
    ) -> Result<Outcome> {
        let stored = resource.stored()?;
        let key = stored.model.key(namespace, name);
        let mut current = self.read(&key).await?;
        loop {
            let Some(kv) = current else {
                return self.create_instead(resource, namespace, name, change, writer).await;
            };
            match self.attempt(resource, stored, &kv, change, writer).await? {
                Attempt::Done(object, written) => return Ok(Outcome { object, created: false, written }),
                Attempt::Lost(now) => current = now,
            }
        }
    }

    async fn create_instead(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        change: &Change<'_>,
        writer: &Writer,
    ) -> Result<Outcome> {
        let allowed = match change.create {
            Create::Never => false,
            Create::IfKindAllows => resource.format.strategy.create_on_update(),
            Create::Always => true,
        };
        if !allowed || change.part != Part::Main {
            return Err(resource.not_found(name));
        }
        let mut object = (change.make)(None)?;
        if !meta::resource_version(&object).is_empty() && change.create == Create::IfKindAllows {
            return Err(resource.not_found(name));
        }
        meta::set(&mut object, "name", name.into());
        self.create(resource, namespace, object, writer).await
    }

    async fn attempt(
        &self,
        resource: &Resource,
        stored: &Stored,
        kv: &KeyValue,
        change: &Change<'_>,
        writer: &Writer,
    ) -> Result<Attempt> {
        let old = stored.object(kv).await?;
        let mut new = (change.make)(Some(&old))?;
        check_namespace(resource, meta::namespace(&old), &mut new)?;
        check_preconditions(resource, &new, &old)?;
        let attributes = Attributes {
            operation: Operation::Update,
            resource,
            subresource: change.subresource,
            namespace: meta::namespace(&old),
            name: meta::name(&old),
            generate_name: "",
            old: Some(&old),
            user: &writer.user,
            dry_run: writer.dry_run,
            warnings: &writer.warnings,
            kind: None,
            reinvocation: Reinvocation::default(),
        };
        if !writer.applied && !change.keeps_owners {
            Manager::new(resource, writer, change.part, change.subresource).record(Some(&old), &mut new);
        }
        self.admission.mutate(&attributes, &mut new).await?;
        prepare(resource, change.part, &mut new, &old, writer);
        let errors = resource.format.strategy.validate_update(change.part, &new, &old);
        if !errors.is_empty() {
            return Err(resource.invalid(meta::name(&old), &errors));
        }
        for text in resource.format.strategy.warnings(&new, Some(&old)) {
            writer.warnings.add(text);
        }
        resource.format.strategy.default(&mut new);
        api_types::schema::normalize(&mut new, &resource.format.schema);
        self.admission.validate(&attributes, &new).await?;
        stored.behaviour.begin_update(&mut new, &old, writer.dry_run).await?;
        if is_finished(stored, &new) {
            return self.remove_finished(stored, kv, new, writer).await;
        }
        self.write(stored, kv, new, &old, writer).await
    }

    /// Stores the changed object, unless nothing changed (nor how it would be encrypted).
    async fn write(
        &self,
        stored: &Stored,
        kv: &KeyValue,
        mut new: Value,
        old: &Value,
        writer: &Writer,
    ) -> Result<Attempt> {
        super::fields::keep_times_of_unchanged(&mut new, old);
        let bytes = stored.to_stored(&mut new).await?;
        if (bytes == kv.value && !kv.stale) || writer.dry_run {
            meta::copy(&mut new, old, "resourceVersion");
            return Ok(Attempt::Done(new, None));
        }
        match self.store.put(&kv.key, bytes.clone(), kv.mod_revision, stored.behaviour.time_to_live()).await {
            Ok(revision) => {
                stored.written(&kv.key, revision);
                stored.behaviour.after_update(&new, old).await;
                let new = stored.answer(new, &kv.key, &bytes, revision.0).await?;
                Ok(Attempt::Done(with_revision(new, revision), Some(Written { stored: bytes, revision })))
            }
            Err(StoreError::Conflict { current, .. }) => Ok(Attempt::Lost(current)),
            Err(e) => Err(from_store(&e)),
        }
    }

    /// The last finalizer of a terminating object went away: so does the object.
    async fn remove_finished(&self, stored: &Stored, kv: &KeyValue, new: Value, writer: &Writer) -> Result<Attempt> {
        if writer.dry_run {
            return Ok(Attempt::Done(new, None));
        }
        match self.store.delete(&kv.key, kv.mod_revision).await {
            Ok(revision) => {
                stored.behaviour.release(&new).await;
                Ok(Attempt::Done(with_revision(new, revision), None))
            }
            Err(StoreError::Conflict { current, .. }) => Ok(Attempt::Lost(current)),
            Err(e) => Err(from_store(&e)),
        }
    }
}

/// Whether nothing keeps a terminating object any more.
fn is_finished(stored: &Stored, new: &Value) -> bool {
    meta::is_terminating(new)
        && meta::grace_period(new).unwrap_or(0) == 0
        && meta::finalizers(new).is_empty()
        && !stored.behaviour.is_held(new)
}

/// Uid and resource version, where the client names them, are those of the present object.
fn check_preconditions(resource: &Resource, new: &Value, old: &Value) -> Result<()> {
    let name = meta::name(old);
    let (uid, wanted) = (meta::uid(old), meta::uid(new));
    if !wanted.is_empty() && wanted != uid {
        let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}");
        return Err(Error::conflict(&resource.group, &resource.plural, name, &why));
    }
    let seen = meta::resource_version(new);
    if seen.is_empty() || seen == "0" {
        if resource.format.strategy.unconditional_update() {
            return Ok(());
        }
        let path = Path::new("metadata").child("resourceVersion");
        let error = FieldError::invalid(&path, 0, "must be specified for an update");
        // Upstream names the resource here, not the kind.
        return Err(Error::invalid(&resource.group, &resource.plural, name, &[error]));
    }
    if seen.parse::<u64>().ok().map(Revision) != meta::resource_version(old).parse().ok().map(Revision) {
        return Err(resource.modified(name));
    }
    Ok(())
}

/// What no client may change, then what the kind keeps, then the generation.
fn prepare(resource: &Resource, part: Part, new: &mut Value, old: &Value, writer: &Writer) {
    if meta::uid(new).is_empty() {
        meta::copy(new, old, "uid");
    }
    meta::copy(new, old, "creationTimestamp");
    if meta::is_terminating(old) {
        meta::copy(new, old, "deletionTimestamp");
    }
    if meta::grace_period(old).is_some() && meta::grace_period(new).is_none() {
        meta::copy(new, old, "deletionGracePeriodSeconds");
    }
    meta::set(new, "selfLink", Value::Null);
    meta::copy(new, old, "generation");
    let strategy = &resource.format.strategy;
    strategy.prepare_update(&writer.context(), part, new, old);
    if strategy.has_generation() && strategy.bumps_generation(new, old) {
        meta::set(new, "generation", (meta::generation(old) + 1).into());
    }
}
