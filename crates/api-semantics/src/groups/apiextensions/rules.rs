//! `x-kubernetes-validations` of a definition: rules must compile against the types of their node, and may not cost too much.

use kube_cel::{Expression, Type};
use serde_json::Value;

use crate::field::{Errors, Field};
use crate::structural::declared::{Declared, declared};
use crate::structural::rules::{environment, rules_of};
use crate::{go, go_internal};

/// The estimated cost that one rule may have, and all rules of a schema together.
const RULE_LIMIT: u64 = 10_000_000;
const SCHEMA_LIMIT: u64 = 100_000_000;
const ADVICE: &str = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)";
const REASONS: [&str; 4] = ["FieldValueRequired", "FieldValueForbidden", "FieldValueInvalid", "FieldValueDuplicate"];

/// Where a schema stands.
#[derive(Clone)]
struct Place {
    root: bool,
    /// How many of its values an object may have.
    count: u64,
    /// The list or map above whose entries can't be told apart from one version to the next.
    uncorrelatable: Option<String>,
}

struct Check<'a> {
    errors: &'a mut Errors,
    total: u64,
}

pub(super) fn validate(root: &Field, errors: &mut Errors) {
    let mut check = Check { errors, total: 0 };
    check.node(root, &Place { root: true, count: 1, uncorrelatable: None });
    if check.total > SCHEMA_LIMIT {
        let factor = factor(check.total, SCHEMA_LIMIT);
        let detail = format!(
            "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of {factor} {ADVICE}"
        );
        check.errors.forbidden(root, detail);
    }
}

fn factor(cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    if factor > 100.0 { "more than 100x".to_owned() } else { format!("{factor:.1}x") }
}

impl Check<'_> {
    fn node(&mut self, schema: &Field, place: &Place) {
        let of = declared(schema.value(), place.root);
        let embedded = |field: &Field| field.bool_of("x-kubernetes-embedded-resource");
        for (_, property) in schema.get("properties").entries() {
            self.node(&property, &Place { root: embedded(&property), ..place.clone() });
        }
        let count = place.count.saturating_mul(of.as_ref().map_or(1, |o| o.largest).max(1));
        let atomic = |told_apart: bool| {
            place.uncorrelatable.clone().or_else(|| (!told_apart).then(|| schema.path().as_str().to_owned()))
        };
        for (name, told_apart) in [
            ("additionalProperties", schema.str_of("x-kubernetes-map-type") != "atomic"),
            ("items", schema.str_of("x-kubernetes-list-type") == "map"),
        ] {
            let below = schema.get(name);
            if below.value().is_object() {
                self.node(&below, &Place { root: embedded(&below), count, uncorrelatable: atomic(told_apart) });
            }
        }
        if rules_of(schema.value()).next().is_some() {
            self.rules(schema, of.as_ref(), place);
        }
    }

    fn rules(&mut self, schema: &Field, of: Option<&Declared>, place: &Place) {
        for rule in schema.get("x-kubernetes-validations").items() {
            self.texts(&rule);
            if rule.str_of("rule").trim().is_empty() {
                continue;
            }
            match of {
                Some(of) => self.compile(&rule, of, place),
                None => {
                    self.refuse(&rule, "rule", "compilation failed: the schema has no type that rules can be about")
                }
            }
            field_path(&rule, schema.value(), self.errors);
        }
    }

    fn texts(&mut self, rule: &Field) {
        let (source, message, made) = (rule.get("rule"), rule.get("message"), rule.get("messageExpression"));
        let blank = |field: &Field| !field.str().is_empty() && field.str().trim().is_empty();
        if source.str().trim().is_empty() {
            self.errors.required(&source, "rule is not specified");
        }
        if blank(&message) {
            self.errors.invalid(&message, "message must be non-empty if specified");
        } else if message.str().trim().contains('\n') {
            self.errors.invalid(&message, "message must not contain line breaks");
        } else if source.str().trim().contains('\n') && message.str().trim().is_empty() {
            self.errors.required(&message, "message must be specified if rule contains line breaks");
        }
        if blank(&made) {
            self.errors.required(&made, "messageExpression must be non-empty if specified");
        }
        let reason = rule.get("reason");
        if reason.exists() && !REASONS.contains(&reason.str()) {
            self.errors.not_supported(&reason, &REASONS);
        }
    }

    /// Invalid, with the whole rule shown.
    fn refuse(&mut self, rule: &Field, at: &str, detail: &str) {
        let shown = go_internal::compact(rule.value(), "ValidationRule");
        let field = Field::at(rule.value(), rule.path().child(at));
        self.errors.push(go::invalid(&field, &shown, detail));
    }

    fn compile(&mut self, rule: &Field, of: &Declared, place: &Place) {
        let optional_old = rule.bool_of("optionalOldSelf");
        let environment = environment(&of.ty, optional_old);
        let condition = match Expression::compile(rule.str_of("rule"), &environment) {
            Ok(condition) => condition,
            Err(error) => return self.refuse(rule, "rule", &format!("compilation failed: {error}")),
        };
        if *condition.ty() != Type::Bool {
            return self.refuse(rule, "rule", "cel expression must evaluate to a bool");
        }
        let about_change = condition.uses("oldSelf");
        match &place.uncorrelatable {
            Some(within) if about_change => {
                let detail =
                    format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {within}");
                self.errors.invalid(&rule.get("rule"), detail);
            }
            _ if optional_old && !about_change => {
                let detail = "option optionalOldSelf may not be set to true if oldSelf is not used in rule";
                self.errors.invalid(&rule.get("optionalOldSelf"), detail);
            }
            _ => {}
        }
        self.charge(&rule.get("rule"), "rule", &condition, of, place);
        let made = rule.get("messageExpression");
        if made.str().trim().is_empty() {
            return;
        }
        match Expression::compile(made.str(), &environment) {
            Err(error) => {
                self.refuse(rule, "messageExpression", &format!("messageExpression compilation failed: {error}"));
            }
            Ok(made) if *made.ty() != Type::String => {
                self.refuse(rule, "messageExpression", "messageExpression must evaluate to a string");
            }
            Ok(expression) => self.charge(&made, "messageExpression", &expression, of, place),
        }
    }

    fn charge(&mut self, at: &Field, what: &str, expression: &Expression, of: &Declared, place: &Place) {
        let cost = expression.estimate(of).max.saturating_mul(place.count);
        self.total = self.total.saturating_add(cost);
        if cost > RULE_LIMIT {
            let factor = factor(cost, RULE_LIMIT);
            self.errors.forbidden(at, format!("estimated {what} cost exceeds budget by factor of {factor} {ADVICE}"));
        }
    }
}

/// A rule's `fieldPath` names a field of its schema.
fn field_path(rule: &Field, schema: &Value, errors: &mut Errors) {
    let path = rule.get("fieldPath");
    if path.str().is_empty() {
        return;
    }
    if path.str().trim().is_empty() {
        errors.invalid(&path, "fieldPath must be non-empty if specified");
    } else if path.str().contains('\n') {
        errors.invalid(&path, "fieldPath must not contain line breaks");
    } else if let Err(problem) = follow(path.str(), schema) {
        errors.invalid(&path, format!("fieldPath must be a valid path: {problem}"));
    }
}

/// Follows `.a.b['c']`.
fn follow<'v>(path: &str, schema: &'v Value) -> Result<&'v Value, String> {
    let mut rest = path;
    let mut at = schema;
    while !rest.is_empty() {
        let name;
        if let Some(after) = rest.strip_prefix("['") {
            let Some((quoted, after)) = after.split_once("']") else {
                return Err("unexpected end of JSON path".to_owned());
            };
            (name, rest) = (quoted, after);
        } else if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            (name, rest) = after.split_at(end);
        } else {
            let end = rest[1..].find(['.', '[']).map_or(rest.len(), |i| i + 1);
            return Err(format!("expected [ or . but got: {}", &rest[..end]));
        }
        at = match at["properties"].get(name) {
            Some(property) => property,
            None if at["additionalProperties"].is_object() => &at["additionalProperties"],
            None => return Err("does not refer to a valid field".to_owned()),
        };
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(schema: Value) -> Vec<String> {
        let mut errors = Errors::default();
        validate(&Field::root(&schema), &mut errors);
        errors.into_vec().iter().map(ToString::to_string).collect()
    }

    fn with(rule: Value) -> Vec<String> {
        let items = json!({"type": "string"});
        told(json!({"type": "object", "properties": {
            "size": {"type": "integer"}, "tags": {"type": "array", "items": items}},
            "x-kubernetes-validations": [rule]}))
    }

    #[test]
    fn rules_are_checked() {
        assert_eq!(
            with(json!({"rule": "self.size < 9", "messageExpression": "'x'", "fieldPath": ".size"})),
            Vec::<String>::new()
        );
        let one = |rule: Value, wanted: &str| {
            let found = with(rule);
            assert!(found.len() == 1 && found[0].contains(wanted), "{found:?}");
        };
        one(json!({"rule": "self.nope"}), "undefined field 'nope'");
        one(json!({"rule": "self.size"}), "cel expression must evaluate to a bool");
        one(json!({"rule": "true", "messageExpression": "1"}), "messageExpression must evaluate to a string");
        one(
            json!({"rule": "true", "fieldPath": ".nope"}),
            "fieldPath must be a valid path: does not refer to a valid field",
        );
        one(json!({"rule": "true", "reason": "Nope"}), "Unsupported value");
        one(json!({"rule": "true", "optionalOldSelf": true}), "if oldSelf is not used in rule");
        one(json!({"rule": "true", "message": "a\nb"}), "message must not contain line breaks");
    }

    #[test]
    fn costs_are_limited() {
        let found = with(json!({"rule": "self.tags.all(a, self.tags.all(b, a == b))"}));
        assert!(found[0].contains("estimated rule cost exceeds budget by factor of more than 100x"), "{found:?}");
        assert!(found.iter().any(|f| f.contains("for entire OpenAPIv3 schema exceeds budget")), "{found:?}");
    }

    #[test]
    fn the_past_of_lists_without_keys_is_unknown() {
        let schema = json!({"type": "object", "properties": {"list": {"type": "array", "maxItems": 5,
            "items": {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]}}}});
        let found = told(schema);
        assert!(
            found[0].contains("oldSelf cannot be used on the uncorrelatable portion of the schema within"),
            "{found:?}"
        );
    }
}
