//! Custom resources: what a CRD's `openAPIV3Schema` means. From one structural schema come the [`Schema`] for decoding
//! (which prunes), apply and printing, the defaults, and validation with upstream's messages.

mod build;
mod correlate;
pub(crate) mod declared;
mod defaults;
mod formats;
pub(crate) mod rules;
mod strategy;
mod validate;

pub use strategy::CustomStrategy;

use api_types::FieldError;
use api_types::schema::Schema;
use serde_json::Value;

/// A custom resource version's schema, compiled.
#[derive(Clone, Debug)]
pub struct CustomSchema {
    schema: Schema,
    source: Value,
    patterns: validate::Patterns,
    rules: rules::Rules,
}

impl CustomSchema {
    /// Compiles `spec.versions[].schema.openAPIV3Schema`; null stands for a version without schema, which keeps
    /// everything. `preserve_unknown_fields` is the CRD's old switch.
    pub fn new(source: &Value, preserve_unknown_fields: bool) -> Self {
        CustomSchema {
            schema: build::root(source, preserve_unknown_fields || source.is_null()),
            source: source.clone(),
            patterns: validate::Patterns::of(source),
            rules: rules::Rules::of(source),
        }
    }

    /// The shape: decoding against it prunes unknown fields.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Fills in the defaults of the schema.
    pub fn default(&self, object: &mut Value) {
        defaults::apply(object, &self.source);
    }

    /// All that the schema refuses in an object, or in the change from `old` to it: what stays as it was is not looked at
    /// again. Rules are looked at when the shape is right.
    pub fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let errors = validate::check(object, old, &self.source, &self.patterns);
        if errors.is_empty() { self.rules.check(object, old, &self.source) } else { errors }
    }
}

#[cfg(test)]
mod tests;
