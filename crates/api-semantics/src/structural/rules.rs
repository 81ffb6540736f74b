//! `x-kubernetes-validations`: CEL rules on the nodes of a schema.

use std::collections::BTreeMap;

use api_types::{FieldError, FieldErrorKind, Path};
use kube_cel::{BUDGET, Environment, EvalError, Expression, MAX_MESSAGE, Type, Value as Cel};
use serde_json::Value;

use super::correlate::Old;
use super::declared::{Declared, declared, value};

/// The compiled rules of a schema and of what is below it.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    here: Vec<Rule>,
    properties: BTreeMap<String, Rules>,
    additional: Option<Box<Rules>>,
    items: Option<Box<Rules>>,
    all_of: Vec<Rules>,
    /// Whether this is the root of a resource.
    root: bool,
}

#[derive(Clone, Debug)]
struct Rule {
    source: Value,
    condition: Result<Expression, String>,
    message: Option<Expression>,
}

/// The environment of a rule on a node of this type.
pub(crate) fn environment(ty: &Type, optional_old: bool) -> Environment {
    let old = if optional_old { Type::optional(ty.clone()) } else { ty.clone() };
    Environment::default().variable("self", ty.clone()).variable("oldSelf", old)
}

impl Rules {
    pub(super) fn of(schema: &Value) -> Self {
        match declared(schema, true) {
            Some(root) => Rules::build(schema, schema, Some(&root), true),
            None => Rules::default(),
        }
    }

    /// `source` has the rules; `schema` is the node that they are about (the same but for what is in an `allOf`).
    fn build(source: &Value, schema: &Value, of: Option<&Declared>, root: bool) -> Self {
        let Some(of) = of else { return Rules::default() };
        let mut rules =
            Rules { here: rules_of(source).map(|rule| Rule::new(rule, of)).collect(), root, ..Rules::default() };
        let embedded = |schema: &Value| schema["x-kubernetes-embedded-resource"] == true;
        for (name, part) in source["properties"].as_object().into_iter().flatten() {
            let Some(property) = schema["properties"].get(name) else { continue };
            let below =
                Rules::build(part, property, declared(property, embedded(property)).as_ref(), embedded(property));
            if !below.is_empty() {
                rules.properties.insert(name.clone(), below);
            }
        }
        let below = |name: &str| {
            let (part, node) =
                (source.get(name).filter(|p| p.is_object())?, schema.get(name).filter(|n| n.is_object())?);
            let below = Rules::build(part, node, of.item.as_deref(), embedded(node));
            (!below.is_empty()).then(|| Box::new(below))
        };
        rules.items = below("items");
        rules.additional = below("additionalProperties");
        let all = source["allOf"].as_array().into_iter().flatten();
        rules.all_of = all.map(|part| Rules::build(part, schema, Some(of), root)).filter(|r| !r.is_empty()).collect();
        rules
    }

    fn is_empty(&self) -> bool {
        self.here.is_empty()
            && self.properties.is_empty()
            && self.additional.is_none()
            && self.items.is_none()
            && self.all_of.is_empty()
    }

    /// All rules that an object breaks. `old` is what it is to replace; rules about the change need it.
    pub(super) fn check(&self, object: &Value, old: Option<&Value>, schema: &Value) -> Vec<FieldError> {
        let mut run = Run { errors: Vec::new(), budget: BUDGET };
        if !self.is_empty() {
            run.node(self, object, Old::of(old), schema, &Path::default());
        }
        run.errors
    }
}

impl Rule {
    fn new(source: &Value, of: &Declared) -> Rule {
        let environment = environment(&of.ty, source["optionalOldSelf"] == true);
        let text = |name: &str| source[name].as_str().unwrap_or_default();
        let condition = Expression::compile(text("rule"), &environment).map_err(|e| e.to_string());
        let message = Some(text("messageExpression")).filter(|m| !m.is_empty());
        let message = message.and_then(|m| Expression::compile(m, &environment).ok());
        Rule { source: source.clone(), condition, message }
    }

    fn text(&self, name: &str) -> &str {
        self.source[name].as_str().unwrap_or_default()
    }

    /// How errors about the rule itself name it.
    fn shown(&self) -> &str {
        let message = self.text("message");
        if message.is_empty() { self.text("rule").trim() } else { message.trim() }
    }

    fn fixed_message(&self) -> String {
        let message = self.text("message");
        if message.is_empty() { format!("failed rule: {}", self.shown()) } else { message.trim().to_owned() }
    }

    fn broken(&self, field: &Path, shown: &str, detail: &str) -> FieldError {
        let at = below(field, self.text("fieldPath"));
        match self.text("reason") {
            "FieldValueForbidden" => FieldError::forbidden(&at, detail),
            "FieldValueRequired" => FieldError::required(&at, detail),
            "FieldValueDuplicate" => {
                let message = format!("Duplicate value: {shown:?}");
                FieldError { kind: FieldErrorKind::Duplicate, field: at, message }
            }
            _ => FieldError::invalid(&at, shown, detail),
        }
    }
}

/// The budget is used up: nothing more is run.
struct Exhausted;

struct Run {
    errors: Vec<FieldError>,
    /// What is left.
    budget: u64,
}

impl Run {
    fn node(&mut self, rules: &Rules, value: &Value, old: Old<'_>, schema: &Value, field: &Path) {
        let _ = self.descend(rules, value, old, schema, field);
    }

    fn descend(
        &mut self,
        rules: &Rules,
        value: &Value,
        old: Old<'_>,
        schema: &Value,
        field: &Path,
    ) -> Result<(), Exhausted> {
        if value.is_null() {
            return Ok(());
        }
        if !rules.here.is_empty() {
            self.here(rules, value, old, schema, field)?;
        }
        for part in &rules.all_of {
            self.descend(part, value, old, schema, field)?;
        }
        match value {
            Value::Object(fields) => {
                for (name, entry) in fields {
                    let before = old.field(name, entry, schema);
                    if let Some(below) = rules.properties.get(name) {
                        self.descend(below, entry, before, &schema["properties"][name], &field.child(name))?;
                    } else if let Some(below) = &rules.additional {
                        self.descend(below, entry, before, &schema["additionalProperties"], &field.key(name))?;
                    }
                }
            }
            Value::Array(items) => {
                let Some(below) = &rules.items else { return Ok(()) };
                for (index, entry) in items.iter().enumerate() {
                    let before = old.item(entry, schema);
                    self.descend(below, entry, before, &schema["items"], &field.index(index))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The rules of one node.
    fn here(
        &mut self,
        rules: &Rules,
        json: &Value,
        old: Old<'_>,
        schema: &Value,
        field: &Path,
    ) -> Result<(), Exhausted> {
        let shown = schema["type"].as_str().unwrap_or("object");
        let own = value(json, schema, rules.root);
        let before = old.value().filter(|o| !o.is_null()).map(|o| value(o, schema, rules.root));
        for rule in &rules.here {
            let condition = match &rule.condition {
                Ok(condition) => condition,
                Err(error) => {
                    let detail = format!("rule compile error: compilation failed: {error}");
                    self.errors.push(FieldError::invalid(field, shown, &detail));
                    continue;
                }
            };
            let optional = rule.source["optionalOldSelf"] == true;
            let about_change = condition.uses("oldSelf");
            if about_change && before.is_none() && !optional {
                continue;
            }
            let mut scope = vec![("self", own.clone())];
            match (&before, optional) {
                (Some(before), false) => scope.push(("oldSelf", before.clone())),
                (Some(before), true) => scope.push(("oldSelf", Cel::some(before.clone()))),
                (None, _) => scope.push(("oldSelf", Cel::none())),
            }
            // What did not change may stay as it is.
            if !about_change && old.unchanged() {
                continue;
            }
            self.one(rule, condition, &scope, field, shown)?;
        }
        Ok(())
    }

    fn one(
        &mut self,
        rule: &Rule,
        condition: &Expression,
        scope: &[(&str, Cel)],
        field: &Path,
        shown: &str,
    ) -> Result<(), Exhausted> {
        let refuse = |detail: String| FieldError::invalid(field, shown, &detail);
        let (result, cost) = condition.evaluate(scope);
        if cost > self.budget {
            let detail = "validation failed due to running out of cost budget, no further validation rules will be run";
            self.errors.push(refuse(detail.to_owned()));
            return Err(Exhausted);
        }
        self.budget -= cost;
        match result {
            Ok(Cel::Bool(true)) => Ok(()),
            Ok(_) => {
                let detail = self.message(rule, scope);
                self.errors.push(rule.broken(field, shown, &detail));
                Ok(())
            }
            Err(error @ EvalError::CostLimit) => {
                let rule = rule.shown();
                self.errors.push(refuse(format!(
                    "'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {rule}"
                )));
                Err(Exhausted)
            }
            Err(error) if error.to_string().starts_with("no such overload") => {
                let rule = rule.shown();
                self.errors.push(refuse(format!(
                    "'{error}': call arguments did not match a supported operator, function or macro signature for rule: {rule}"
                )));
                Ok(())
            }
            Err(error) => {
                self.errors.push(refuse(format!("{error} evaluating rule: {}", rule.shown())));
                Ok(())
            }
        }
    }

    /// What the message expression makes, or the message.
    fn message(&mut self, rule: &Rule, scope: &[(&str, Cel)]) -> String {
        let Some(message) = &rule.message else { return rule.fixed_message() };
        let (made, cost) = message.evaluate(scope);
        if cost > self.budget {
            self.budget = 0;
            return "messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run"
                .to_owned();
        }
        self.budget -= cost;
        match made {
            Ok(Cel::String(text)) => {
                let text = text.trim();
                let fits = !text.is_empty() && text.len() <= MAX_MESSAGE && !text.contains('\n');
                if fits { text.to_owned() } else { rule.fixed_message() }
            }
            _ => rule.fixed_message(),
        }
    }
}

pub(crate) fn rules_of(schema: &Value) -> impl Iterator<Item = &Value> {
    schema["x-kubernetes-validations"].as_array().into_iter().flatten()
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
