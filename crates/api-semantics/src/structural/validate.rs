//! Validation of custom resources against their schema, with the messages of upstream's validator.

use std::collections::BTreeMap;

use api_types::{FieldError, FieldErrorKind, Path};
use regex::Regex;
use serde_json::Value;

use super::correlate::Old;
use super::formats;

/// The compiled `pattern`s of a schema. A pattern that does not compile matches nothing (CRD validation refuses it).
#[derive(Clone, Debug, Default)]
pub(super) struct Patterns(BTreeMap<String, Option<Regex>>);

impl Patterns {
    pub(super) fn of(schema: &Value) -> Self {
        let mut patterns = Patterns::default();
        patterns.collect(schema);
        patterns
    }

    fn collect(&mut self, schema: &Value) {
        match schema {
            Value::Object(fields) => {
                if let Some(pattern) = fields.get("pattern").and_then(Value::as_str) {
                    self.0.entry(pattern.to_owned()).or_insert_with(|| Regex::new(pattern).ok());
                }
                fields.values().for_each(|v| self.collect(v));
            }
            Value::Array(items) => items.iter().for_each(|v| self.collect(v)),
            _ => {}
        }
    }

    fn matches(&self, pattern: &str, text: &str) -> bool {
        self.0.get(pattern).is_some_and(|p| p.as_ref().is_some_and(|p| p.is_match(text)))
    }
}

/// All errors of an object; those of places that are as they were in `old` aside.
pub(super) fn check(object: &Value, old: Option<&Value>, schema: &Value, patterns: &Patterns) -> Vec<FieldError> {
    let mut check = Check { patterns, errors: Vec::new() };
    check.node(object, Old::of(old), schema, &Path::default());
    check.errors
}

struct Check<'a> {
    patterns: &'a Patterns,
    errors: Vec<FieldError>,
}

fn error(kind: FieldErrorKind, field: &Path, message: String) -> FieldError {
    FieldError { kind, field: field.clone(), message }
}

/// How messages call a value's type.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() && n.as_f64().is_some_and(|f| f.fract() != 0.0) => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn has_type(value: &Value, wanted: &str) -> bool {
    let found = type_name(value);
    found == wanted || (wanted == "number" && found == "integer")
}

impl Check<'_> {
    fn invalid(&mut self, field: &Path, value: &Value, detail: &str) {
        let name = if field.as_str().is_empty() { "<nil>" } else { field.as_str() };
        self.errors.push(FieldError::invalid(field, value, &format!("{name} in body {detail}")));
    }

    fn node(&mut self, value: &Value, old: Old<'_>, schema: &Value, field: &Path) {
        if old.unchanged() {
            return;
        }
        if value.is_null() && (schema["nullable"] == true || schema.get("type").is_none()) {
            return;
        }
        if !self.has_right_type(value, schema, field) {
            return;
        }
        self.choices(value, schema, field);
        match value {
            Value::Object(_) => self.object(value, old, schema, field),
            Value::Array(items) => self.array(items, old, schema, field),
            Value::String(text) => self.string(text, value, schema, field),
            Value::Number(n) => self.number(n.as_f64().unwrap_or_default(), value, schema, field),
            _ => {}
        }
        self.combinations(value, schema, field);
    }

    fn has_right_type(&mut self, value: &Value, schema: &Value, field: &Path) -> bool {
        let int_or_string = schema["x-kubernetes-int-or-string"] == true;
        let wanted = if int_or_string { "integer,string" } else { schema["type"].as_str().unwrap_or_default() };
        if wanted.is_empty() || wanted.split(',').any(|w| has_type(value, w)) {
            return true;
        }
        let name = if field.as_str().is_empty() { "<nil>" } else { field.as_str() };
        let found = type_name(value);
        let message = format!("Invalid value: {found:?}: {name} in body must be of type {wanted}: {found:?}");
        self.errors.push(error(FieldErrorKind::TypeInvalid, field, message));
        false
    }

    fn choices(&mut self, value: &Value, schema: &Value, field: &Path) {
        let Some(allowed) = schema["enum"].as_array() else { return };
        if !allowed.contains(value) {
            let texts: Vec<String> =
                allowed.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            self.errors.push(FieldError::not_supported(field, value, &texts));
        }
    }

    fn object(&mut self, value: &Value, old: Old<'_>, schema: &Value, field: &Path) {
        let Some(object) = value.as_object() else { return };
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(name) {
                self.errors.push(FieldError::required(&field.child(name), ""));
            }
        }
        if let Some(max) = schema["maxProperties"].as_u64().filter(|max| object.len() as u64 > *max) {
            self.errors.push(FieldError::too_many(field, object.len(), max as usize));
        }
        if let Some(min) = schema["minProperties"].as_u64().filter(|min| (object.len() as u64) < *min) {
            self.invalid(field, value, &format!("should have at least {min} properties"));
        }
        let metadata = field.as_str().is_empty() || schema["x-kubernetes-embedded-resource"] == true;
        for (name, entry) in object {
            if metadata && matches!(name.as_str(), "metadata" | "apiVersion" | "kind") {
                continue;
            }
            match schema["properties"].get(name) {
                Some(property) => self.node(entry, old.field(name, entry, schema), property, &field.child(name)),
                None if schema["additionalProperties"].is_object() => {
                    let old = old.field(name, entry, schema);
                    self.node(entry, old, &schema["additionalProperties"], &field.child(name));
                }
                None => {}
            }
        }
    }

    fn array(&mut self, items: &[Value], old: Old<'_>, schema: &Value, field: &Path) {
        let value = Value::from(items.to_vec());
        if let Some(max) = schema["maxItems"].as_u64().filter(|max| items.len() as u64 > *max) {
            self.errors.push(FieldError::too_many(field, items.len(), max as usize));
        }
        if let Some(min) = schema["minItems"].as_u64().filter(|min| (items.len() as u64) < *min) {
            self.invalid(field, &value, &format!("should have at least {min} items"));
        }
        if schema["uniqueItems"] == true && items.iter().enumerate().any(|(i, item)| items[..i].contains(item)) {
            self.invalid(field, &value, "shouldn't contain duplicates");
        }
        self.unique_items(items, schema, field);
        for (index, item) in items.iter().enumerate() {
            self.node(item, old.item(item, schema), &schema["items"], &field.index(index));
        }
    }

    /// Items of sets and keyed lists may not repeat.
    fn unique_items(&mut self, items: &[Value], schema: &Value, field: &Path) {
        let identity = |item: &Value| -> Option<Value> {
            match schema["x-kubernetes-list-type"].as_str()? {
                "set" => Some(item.clone()),
                "map" => {
                    let keys = schema["x-kubernetes-list-map-keys"].as_array()?;
                    let keys = keys.iter().filter_map(Value::as_str);
                    Some(Value::Object(keys.filter_map(|k| Some((k.to_owned(), item.get(k)?.clone()))).collect()))
                }
                _ => None,
            }
        };
        let mut seen: Vec<Value> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let Some(identity) = identity(item) else { return };
            if seen.contains(&identity) {
                self.errors.push(FieldError::duplicate(&field.index(index), &identity));
            } else {
                seen.push(identity);
            }
        }
    }

    fn string(&mut self, text: &str, value: &Value, schema: &Value, field: &Path) {
        let length = text.chars().count() as u64;
        if let Some(max) = schema["maxLength"].as_u64().filter(|max| length > *max) {
            self.errors.push(FieldError::too_long(field, max as usize));
        }
        if let Some(min) = schema["minLength"].as_u64().filter(|min| length < *min) {
            self.invalid(field, value, &format!("should be at least {min} chars long"));
        }
        if let Some(pattern) = schema["pattern"].as_str().filter(|p| !self.patterns.matches(p, text)) {
            self.invalid(field, value, &format!("should match '{pattern}'"));
        }
        if let Some(format) = schema["format"].as_str()
            && formats::matches(format, text) == Some(false)
        {
            self.invalid(field, value, &format!("must be of type {format}: {text:?}"));
        }
    }

    fn number(&mut self, number: f64, value: &Value, schema: &Value, field: &Path) {
        if let Some(max) = schema["maximum"].as_f64() {
            let exclusive = schema["exclusiveMaximum"] == true;
            if number > max || (exclusive && number >= max) {
                let or_equal = if exclusive { "" } else { " or equal to" };
                self.invalid(field, value, &format!("should be less than{or_equal} {max}"));
            }
        }
        if let Some(min) = schema["minimum"].as_f64() {
            let exclusive = schema["exclusiveMinimum"] == true;
            if number < min || (exclusive && number <= min) {
                let or_equal = if exclusive { "" } else { " or equal to" };
                self.invalid(field, value, &format!("should be greater than{or_equal} {min}"));
            }
        }
        if let Some(of) = schema["multipleOf"].as_f64().filter(|of| *of != 0.0 && (number / of).fract() != 0.0) {
            self.invalid(field, value, &format!("should be a multiple of {of}"));
        }
        if let Some(format) = schema["format"].as_str() {
            let fits = match format {
                "int32" => i32::try_from(number as i64).is_ok(),
                _ => true,
            };
            if !fits {
                self.invalid(field, value, &format!("must be of type {format}: \"{value}\""));
            }
        }
    }

    fn holds(&self, value: &Value, schema: &Value, field: &Path) -> bool {
        let mut check = Check { patterns: self.patterns, errors: Vec::new() };
        check.node(value, Old::of(None), schema, field);
        check.errors.is_empty()
    }

    fn combinations(&mut self, value: &Value, schema: &Value, field: &Path) {
        let name = format!("{:?}", field.as_str());
        let count = |this: &Self, list: &str| {
            schema[list].as_array().map(|all| (all.iter().filter(|s| this.holds(value, s, field)).count(), all.len()))
        };
        let mut details = Vec::new();
        if let Some((0, _)) = count(self, "anyOf") {
            details.push(format!("{name} must validate at least one schema (anyOf)"));
        }
        match count(self, "oneOf") {
            None | Some((1, _)) => {}
            Some((0, _)) => {
                details.push(format!("{name} must validate one and only one schema (oneOf). Found none valid"))
            }
            Some((n, _)) => {
                details.push(format!(
                    "{name} must validate one and only one schema (oneOf). Found {n} valid alternatives"
                ));
            }
        }
        if let Some((good, all)) = count(self, "allOf")
            && good < all
        {
            details.push(format!("{name} must validate all the schemas (allOf)"));
        }
        if schema["not"].is_object() && self.holds(value, &schema["not"], field) {
            details.push(format!("{name} must not validate the schema (not)"));
        }
        for detail in details {
            self.errors.push(FieldError::invalid(field, value, &detail));
        }
    }
}
