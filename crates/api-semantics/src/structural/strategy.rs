//! What a custom resource version adds to the generic registry.

use std::sync::Arc;

use api_types::FieldError;
use serde_json::Value;

use super::CustomSchema;
use crate::field::{Errors, Field};
use crate::object_meta;
use crate::strategy::{Context, Part, Strategy, changes_spec, keep_other_parts};

/// The strategy of one version of a custom resource.
pub struct CustomStrategy {
    pub schema: Arc<CustomSchema>,
    pub namespaced: bool,
    /// Whether the version has the `status` subresource.
    pub status: bool,
}

impl Strategy for CustomStrategy {
    fn default(&self, object: &mut Value) {
        self.schema.default(object);
    }

    fn prepare_create(&self, _context: &Context, object: &mut Value) {
        if self.status
            && let Some(fields) = object.as_object_mut()
        {
            fields.remove("status");
        }
    }

    fn prepare_update(&self, _context: &Context, part: Part, new: &mut Value, old: &Value) {
        if self.status {
            keep_other_parts(part, new, old);
        }
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        let metadata = Field::root(object).get("metadata");
        object_meta::validate(&metadata, self.namespaced, object_meta::dns_subdomain, &mut errors);
        let mut errors = errors.into_vec();
        errors.extend(self.schema.validate(object, None));
        errors
    }

    fn validate_update(&self, _part: Part, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        let (after, before) = (Field::root(new).get("metadata"), Field::root(old).get("metadata"));
        object_meta::validate_update(&after, &before, &mut errors);
        object_meta::validate(&after, self.namespaced, object_meta::dns_subdomain, &mut errors);
        let mut errors = errors.into_vec();
        errors.extend(self.schema.validate(new, Some(old)));
        errors
    }

    fn bumps_generation(&self, new: &Value, old: &Value) -> bool {
        changes_spec(new, old) || (!self.status && new.get("status") != old.get("status"))
    }

    fn unconditional_update(&self) -> bool {
        false
    }
}
