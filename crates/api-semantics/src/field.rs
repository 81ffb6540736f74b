//! A read-only cursor into a JSON object that knows its own path, and the list of errors that validation fills.
//!
//! Validation is written against this instead of typed structs: the value shown in an error and the path it is shown
//! under cannot disagree, absent and zero read alike (as in Go), and a hundred kinds add no generated code.

use api_types::{FieldError, Path};
use serde_json::Value;

static NULL: Value = Value::Null;

/// A value at a path; `null` stands for absent.
#[derive(Clone, Debug)]
pub(crate) struct Field<'a> {
    value: &'a Value,
    path: Path,
}

impl<'a> Field<'a> {
    /// The whole object.
    pub(crate) fn root(value: &'a Value) -> Self {
        Field { value, path: Path::default() }
    }

    /// The same value under another path.
    pub(crate) fn at(value: &'a Value, path: Path) -> Self {
        Field { value, path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn value(&self) -> &'a Value {
        self.value
    }

    /// The field `name`; absent when this is no object or has none.
    pub(crate) fn get(&self, name: &str) -> Field<'a> {
        Field { value: self.value.get(name).unwrap_or(&NULL), path: self.path.child(name) }
    }

    /// A field several levels down: `"spec.template.metadata"`.
    pub(crate) fn dig(&self, path: &str) -> Field<'a> {
        path.split('.').fold(self.clone(), |f, name| f.get(name))
    }

    /// The map entry `key` (its path is `field[key]`).
    pub(crate) fn entry(&self, key: &str) -> Field<'a> {
        Field { value: self.value.get(key).unwrap_or(&NULL), path: self.path.key(key) }
    }

    pub(crate) fn items(&self) -> impl DoubleEndedIterator<Item = Field<'a>> + use<'a> {
        let path = self.path.clone();
        let items: &'a [Value] = self.value.as_array().map_or(&[], Vec::as_slice);
        items.iter().enumerate().map(move |(i, value)| Field { value, path: path.index(i) })
    }

    /// The entries of a map, in key order; each with the path `field[key]`.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'a str, Field<'a>)> + use<'a> {
        let path = self.path.clone();
        self.value.as_object().into_iter().flatten().map(move |(key, value)| {
            let path = path.key(key);
            (key.as_str(), Field { value, path })
        })
    }

    /// Present and not null (a pointer that is set).
    pub(crate) fn exists(&self) -> bool {
        !self.value.is_null()
    }

    /// Absent, null, or the zero value of its type.
    pub(crate) fn is_zero(&self) -> bool {
        is_zero(self.value)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.value.get(name).is_some_and(|value| !value.is_null())
    }

    /// The text; empty when absent.
    pub(crate) fn str(&self) -> &'a str {
        self.value.as_str().unwrap_or("")
    }

    pub(crate) fn str_of(&self, name: &str) -> &'a str {
        self.value.get(name).and_then(Value::as_str).unwrap_or("")
    }

    pub(crate) fn int(&self) -> Option<i64> {
        self.value.as_i64()
    }

    pub(crate) fn int_or_zero(&self) -> i64 {
        self.int().unwrap_or(0)
    }

    pub(crate) fn bool(&self) -> bool {
        self.value.as_bool().unwrap_or(false)
    }

    pub(crate) fn bool_of(&self, name: &str) -> bool {
        self.value.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// Items of a list, entries of a map, bytes of a text.
    pub(crate) fn len(&self) -> usize {
        match self.value {
            Value::Array(a) => a.len(),
            Value::Object(o) => o.len(),
            Value::String(s) => s.len(),
            _ => 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Whether Go would call this the zero value (and `omitempty` leave it out).
pub(crate) fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_i64() == Some(0) || n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
    }
}

/// What validation found wrong, in the order found.
#[derive(Debug, Default)]
pub(crate) struct Errors(Vec<FieldError>);

impl Errors {
    pub(crate) fn push(&mut self, error: FieldError) {
        self.0.push(error);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_vec(self) -> Vec<FieldError> {
        self.0
    }

    /// Drops what was found before: metadata is looked at as an object and as a change.
    pub(crate) fn dedup(&mut self) {
        let mut out: Vec<FieldError> = Vec::with_capacity(self.0.len());
        for error in self.0.drain(..) {
            if !out.contains(&error) {
                out.push(error);
            }
        }
        self.0 = out;
    }

    pub(crate) fn required(&mut self, field: &Field, detail: &str) {
        self.push(FieldError::required(field.path(), detail));
    }

    /// The field's own value is invalid.
    pub(crate) fn invalid(&mut self, field: &Field, detail: impl AsRef<str>) {
        self.push(FieldError::invalid(field.path(), field.value(), detail.as_ref()));
    }

    /// Like [`Errors::invalid`], with an absent text shown as `""` (a Go string that is not a pointer).
    pub(crate) fn invalid_str(&mut self, field: &Field, detail: impl AsRef<str>) {
        self.push(FieldError::invalid(field.path(), field.str(), detail.as_ref()));
    }

    /// Like [`Errors::invalid`], with an absent number shown as `0`.
    pub(crate) fn invalid_int(&mut self, field: &Field, detail: impl AsRef<str>) {
        self.push(FieldError::invalid(field.path(), field.int_or_zero(), detail.as_ref()));
    }

    /// Shows `value` instead of the field's own.
    pub(crate) fn invalid_as(&mut self, field: &Field, value: impl serde::Serialize, detail: impl AsRef<str>) {
        self.push(FieldError::invalid(field.path(), value, detail.as_ref()));
    }

    pub(crate) fn not_supported(&mut self, field: &Field, supported: &[&str]) {
        self.push(FieldError::not_supported(field.path(), field.str(), supported));
    }

    pub(crate) fn duplicate(&mut self, field: &Field) {
        self.push(FieldError::duplicate(field.path(), field.value()));
    }

    pub(crate) fn duplicate_as(&mut self, field: &Field, value: impl serde::Serialize) {
        self.push(FieldError::duplicate(field.path(), value));
    }

    pub(crate) fn forbidden(&mut self, field: &Field, detail: impl AsRef<str>) {
        self.push(FieldError::forbidden(field.path(), detail.as_ref()));
    }

    pub(crate) fn too_long(&mut self, field: &Field, max: usize) {
        self.push(FieldError::too_long(field.path(), max));
    }

    pub(crate) fn too_many(&mut self, field: &Field, max: usize) {
        self.push(FieldError::too_many(field.path(), field.len(), max));
    }

    pub(crate) fn not_found(&mut self, field: &Field) {
        self.push(FieldError::not_found(field.path(), field.value()));
    }

    /// One `invalid` per message.
    pub(crate) fn invalid_each(&mut self, field: &Field, messages: Vec<String>) {
        for message in messages {
            self.invalid_str(field, message);
        }
    }
}
