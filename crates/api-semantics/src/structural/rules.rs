//! `x-kubernetes-validations`: CEL rules on the nodes of a schema.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::cel::objects::OptionalValue;
use api_types::{FieldError, FieldErrorKind, Path};
use serde_json::Value;

use crate::cel::{self, CelError, Expression};

/// The compiled rules and message expressions of a schema, by their text.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules(BTreeMap<String, Result<Expression, CelError>>);

impl Rules {
    pub(super) fn of(schema: &Value) -> Self {
        let mut rules = Rules::default();
        rules.collect(schema);
        rules
    }

    fn collect(&mut self, schema: &Value) {
        match schema {
            Value::Object(fields) => {
                for rule in rules_of(schema) {
                    for source in ["rule", "messageExpression"].iter().filter_map(|name| rule[*name].as_str()) {
                        self.0.entry(source.to_owned()).or_insert_with(|| Expression::compile(source));
                    }
                }
                fields.values().for_each(|v| self.collect(v));
            }
            Value::Array(items) => items.iter().for_each(|v| self.collect(v)),
            _ => {}
        }
    }

    fn find(&self, source: &str) -> Result<&Expression, String> {
        match self.0.get(source) {
            Some(Ok(expression)) => Ok(expression),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("rule is not compiled".to_owned()),
        }
    }

    /// All rules that an object breaks. `old` is what it is to replace; rules about the change need it.
    pub(super) fn check(&self, object: &Value, old: Option<&Value>, schema: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if !self.0.is_empty() {
            self.node(object, old, schema, &Path::default(), &mut errors);
        }
        errors
    }

    fn node(&self, value: &Value, old: Option<&Value>, schema: &Value, field: &Path, errors: &mut Vec<FieldError>) {
        if value.is_null() {
            return;
        }
        let old = old.filter(|old| !old.is_null());
        errors.extend(rules_of(schema).filter_map(|rule| self.one(rule, value, old, schema, field)));
        match value {
            Value::Object(fields) => {
                for (name, entry) in fields {
                    let schema = schema["properties"].get(name).unwrap_or(&schema["additionalProperties"]);
                    if schema.is_object() {
                        self.node(entry, old.and_then(|o| o.get(name)), schema, &field.child(name), errors);
                    }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let before = old.and_then(|old| same_item(item, old, schema));
                    self.node(item, before, &schema["items"], &field.index(index), errors);
                }
            }
            _ => {}
        }
    }

    fn one(
        &self,
        rule: &Value,
        value: &Value,
        old: Option<&Value>,
        schema: &Value,
        field: &Path,
    ) -> Option<FieldError> {
        let text = |name: &str| rule[name].as_str().unwrap_or_default();
        let source = text("rule");
        let shown = schema["type"].as_str().unwrap_or("object");
        let expression = match self.find(source) {
            Ok(expression) => expression,
            Err(error) => return Some(FieldError::invalid(field, shown, &format!("rule compile error: {error}"))),
        };
        let variables = variables(expression, rule, value, old, schema)?;
        let detail = match expression.holds(&variables) {
            Ok(true) => return None,
            Ok(false) => self.message(rule, &variables),
            Err(error) => format!("rule evaluation error: {error}"),
        };
        let at = below(field, text("fieldPath"));
        Some(match text("reason") {
            "FieldValueForbidden" => FieldError::forbidden(&at, &detail),
            "FieldValueRequired" => FieldError::required(&at, &detail),
            "FieldValueDuplicate" => {
                let message = format!("Duplicate value: {shown:?}");
                FieldError { kind: FieldErrorKind::Duplicate, field: at, message }
            }
            _ => FieldError::invalid(&at, shown, &detail),
        })
    }

    fn message(&self, rule: &Value, variables: &[(&str, ::cel::Value)]) -> String {
        let made = rule["messageExpression"].as_str().and_then(|source| self.find(source).ok()?.text(variables).ok());
        let fixed = rule["message"].as_str().filter(|m| !m.is_empty()).map(str::to_owned);
        let made = made.filter(|m| !m.trim().is_empty() && !m.contains('\n'));
        made.or(fixed).unwrap_or_else(|| format!("failed rule: {}", rule["rule"].as_str().unwrap_or_default().trim()))
    }
}

fn rules_of(schema: &Value) -> impl Iterator<Item = &Value> {
    schema["x-kubernetes-validations"].as_array().into_iter().flatten()
}

/// What the rule sees; none when it is about a change and there is no old value.
fn variables(
    expression: &Expression,
    rule: &Value,
    value: &Value,
    old: Option<&Value>,
    schema: &Value,
) -> Option<Vec<(&'static str, ::cel::Value)>> {
    let mut variables = vec![("self", cel::value(value, schema))];
    if expression.uses("oldSelf") {
        let before = old.map(|old| cel::value(old, schema));
        let before = if rule["optionalOldSelf"] == true {
            let optional = before.map_or_else(OptionalValue::none, OptionalValue::of);
            ::cel::Value::Opaque(Arc::new(optional))
        } else {
            before?
        };
        variables.push(("oldSelf", before));
    }
    Some(variables)
}

/// The old item with the same keys; items of other lists have no past.
fn same_item<'v>(item: &Value, old: &'v Value, schema: &Value) -> Option<&'v Value> {
    if schema["x-kubernetes-list-type"] != "map" {
        return None;
    }
    let keys = schema["x-kubernetes-list-map-keys"].as_array()?;
    let same = |other: &&Value| keys.iter().filter_map(Value::as_str).all(|k| other.get(k) == item.get(k));
    old.as_array()?.iter().find(same)
}

/// A rule's `fieldPath` (`.a.b`, `.a['b']`) below a field.
fn below(field: &Path, path: &str) -> Path {
    path.split(['.', '[']).filter(|part| !part.is_empty()).fold(field.clone(), |at, part| {
        match part.strip_suffix(']') {
            Some(key) => at.key(key.trim_matches(['\'', '"'])),
            None => at.child(part),
        }
    })
}
