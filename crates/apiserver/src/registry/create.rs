//! Creating an object.

use serde_json::Value;
use storage::{Revision, StoreError};

use super::{Outcome, Registry, Writer, Written, fields::Manager, with_revision};
use crate::{
    admission::{Attributes, Operation, Reinvocation},
    error::{Error, Result, from_store},
    meta,
    model::{Resource, Stored},
};

/// Upstream's limits of generated names: a base of at most 58, and five characters more.
const NAME_BASE: usize = 58;
const SUFFIX: usize = 5;
/// How often a generated name that is taken is drawn again.
const DRAWS: usize = 8;

impl Registry {
    /// Creates `object` (decoded, defaulted, in the served version); answers it as stored.
    pub async fn create(
        &self,
        resource: &Resource,
        namespace: &str,
        object: Value,
        writer: &Writer,
    ) -> Result<Outcome> {
        let generated = meta::name(&object).is_empty() && !meta::text(&object, "generateName").is_empty();
        let mut draws = if generated { DRAWS } else { 1 };
        loop {
            draws -= 1;
            if draws == 0 {
                return self.create_once(resource, namespace, object, writer).await;
            }
            match self.create_once(resource, namespace, object.clone(), writer).await {
                Err(e) if e.reason == "AlreadyExists" => {}
                other => return other,
            }
        }
    }

    async fn create_once(
        &self,
        resource: &Resource,
        namespace: &str,
        mut object: Value,
        writer: &Writer,
    ) -> Result<Outcome> {
        let stored = resource.stored()?;
        check_namespace(resource, namespace, &mut object)?;
        let given = meta::name(&object).to_owned();
        let base = meta::text(&object, "generateName").to_owned();
        if !meta::resource_version(&object).is_empty() {
            return Err(Error::bad_request("resourceVersion should not be set on objects to be created"));
        }
        let attributes = Attributes {
            operation: Operation::Create,
            resource,
            subresource: "",
            namespace,
            name: &given,
            generate_name: &base,
            old: None,
            user: &writer.user,
            dry_run: writer.dry_run,
            warnings: &writer.warnings,
            kind: None,
            reinvocation: Reinvocation::default(),
        };
        // What admission adds has no owner.
        if !writer.applied {
            Manager::new(resource, writer, api_semantics::Part::Main, "").record(None, &mut object);
        }
        self.admission.mutate(&attributes, &mut object).await?;
        prepare(resource, &mut object, writer);
        let errors = resource.format.strategy.validate_create(&object);
        if !errors.is_empty() {
            return Err(resource.invalid(meta::name(&object), &errors));
        }
        for text in resource.format.strategy.warnings(&object, None) {
            writer.warnings.add(text);
        }
        // Defaults may depend on what preparation filled in.
        resource.format.strategy.default(&mut object);
        api_types::schema::normalize(&mut object, &resource.format.schema);
        self.admission.validate(&attributes, &object).await?;
        stored.behaviour.begin_create(&mut object, writer.dry_run).await?;
        let result = self.store_new(resource, stored, &mut object, writer).await;
        if result.is_err() && !writer.dry_run {
            stored.behaviour.release(&object).await;
        }
        let written = result?;
        let object = match &written {
            Some(written) => with_revision(object, written.revision),
            None => object,
        };
        Ok(Outcome { object, created: true, written })
    }

    /// Writes the object; `None` on dry runs.
    async fn store_new(
        &self,
        resource: &Resource,
        stored: &Stored,
        object: &mut Value,
        writer: &Writer,
    ) -> Result<Option<Written>> {
        let name = meta::name(object).to_owned();
        let key = stored.model.key(meta::namespace(object), &name);
        let taken = || Error::already_exists(&resource.group, &resource.plural, &name);
        if writer.dry_run {
            if self.read(&key).await?.is_some() {
                return Err(taken());
            }
            // Whether it can be stored shows where somebody has to convert it.
            let bytes = stored.to_stored(object).await?;
            *object = stored.answer(std::mem::take(object), &key, &bytes, 0).await?;
            meta::set(object, "resourceVersion", Value::Null);
            return Ok(None);
        }
        let bytes = stored.to_stored(object).await?;
        match self.store.put(&key, bytes.clone(), Revision(0), stored.behaviour.time_to_live()).await {
            Ok(revision) => {
                stored.written(&key, revision);
                *object = stored.answer(std::mem::take(object), &key, &bytes, revision.0).await?;
                Ok(Some(Written { stored: bytes, revision }))
            }
            Err(StoreError::Conflict { .. }) => Err(taken()),
            Err(e) => Err(from_store(&e)),
        }
    }
}

/// The object's namespace is the request's.
///
/// # Errors
/// If the object names another one.
pub fn check_namespace(resource: &Resource, namespace: &str, object: &mut Value) -> Result<()> {
    let given = meta::namespace(object);
    if !resource.namespaced {
        meta::set(object, "namespace", Value::Null);
    } else if given.is_empty() {
        meta::set(object, "namespace", namespace.into());
    } else if given != namespace {
        return Err(Error::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// What the server decides about a new object, then what its kind does.
fn prepare(resource: &Resource, object: &mut Value, writer: &Writer) {
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"] {
        meta::set(object, field, Value::Null);
    }
    let base = meta::text(object, "generateName");
    if meta::name(object).is_empty() && !base.is_empty() {
        let base: String = base.chars().take(NAME_BASE).collect();
        let name = format!("{base}{}", component_base::rng::suffix(SUFFIX));
        meta::set(object, "name", name.into());
    }
    let context = writer.context();
    meta::set(object, "uid", component_base::rng::uuid().into());
    meta::set(object, "creationTimestamp", meta::timestamp(context.now.unwrap_or_default()));
    let strategy = &resource.format.strategy;
    if strategy.has_generation() {
        meta::set(object, "generation", 1.into());
    }
    strategy.prepare_create(&context, object);
}
