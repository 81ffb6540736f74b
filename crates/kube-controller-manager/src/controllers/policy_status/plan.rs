//! What a policy's expressions are checked against, and what comes of it.

use std::collections::{BTreeMap, BTreeSet};

use api_semantics::cel::{Admission, with_variables};
use kube_cel::{Environment, Expression, Type};
use serde_json::{Value, json};

use super::types::Document;

/// More types than this are not looked at.
const MAX_TYPES: usize = 10;

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn rules(policy: &Value) -> impl Iterator<Item = &Value> {
    policy["spec"]["matchConstraints"]["resourceRules"].as_array().into_iter().flatten()
}

/// (group version, plural) of the resources that the rules name; wildcards name none.
fn resources(policy: &Value) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for rule in rules(policy) {
        let wild = |list: &Value| texts(list).any(|t| t.contains('*'));
        if wild(&rule["apiGroups"]) || wild(&rule["apiVersions"]) {
            continue;
        }
        for group in texts(&rule["apiGroups"]) {
            for version in texts(&rule["apiVersions"]) {
                let version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
                let plain = texts(&rule["resources"]).filter(|r| !r.contains(['*', '/']));
                found.extend(plain.map(|plural| (version.clone(), plural.to_owned())));
            }
        }
    }
    found
}

/// The group versions whose documents are needed.
pub(super) fn versions(policy: &Value) -> BTreeSet<String> {
    let params = policy["spec"]["paramKind"]["apiVersion"].as_str().map(str::to_owned);
    resources(policy).into_iter().map(|(version, _)| version).chain(params).collect()
}

/// The warnings of all expressions, as the status has them.
pub(super) fn warnings(policy: &Value, documents: &BTreeMap<String, Document>) -> Vec<Value> {
    let kinds = resources(policy).into_iter().filter_map(|(version, plural)| {
        let document = documents.get(&version)?;
        let kind = document.kind_of(&plural)?;
        Some((format!("{version}, Kind={kind}"), document.type_of(&kind)?))
    });
    let kinds: BTreeMap<String, Type> = kinds.take(MAX_TYPES).collect();
    let param = &policy["spec"]["paramKind"];
    let params = documents
        .get(param["apiVersion"].as_str().unwrap_or_default())
        .and_then(|document| document.type_of(param["kind"].as_str().unwrap_or_default()));
    let mut warnings = Vec::new();
    let validations = policy["spec"]["validations"].as_array().into_iter().flatten();
    for (index, validation) in validations.enumerate() {
        for field in ["expression", "messageExpression"] {
            let Some(source) = validation[field].as_str().filter(|s| !s.is_empty()) else { continue };
            let found: Vec<String> = kinds
                .iter()
                .filter_map(|(name, ty)| {
                    let environment = environment(policy, ty, params.as_ref());
                    let error = Expression::compile(source, &environment).err()?;
                    Some(format!("{name}: {error}\n"))
                })
                .collect();
            if !found.is_empty() {
                let field = format!("spec.validations[{index}].{field}");
                warnings.push(json!({"fieldRef": field, "warning": found.join("\n")}));
            }
        }
    }
    warnings
}

/// The environment of a policy's expressions with the types of its objects.
fn environment(policy: &Value, object: &Type, params: Option<&Type>) -> Environment {
    let options = Admission { params: params.is_some(), authorizer: true, mutates: false };
    let mut environment =
        options.environment().variable("object", object.clone()).variable("oldObject", object.clone());
    if let Some(params) = params {
        environment = environment.variable("params", params.clone());
    }
    let mut known = BTreeMap::new();
    for variable in policy["spec"]["variables"].as_array().into_iter().flatten() {
        let text = |name: &str| variable[name].as_str().unwrap_or_default();
        let compiled = Expression::compile(text("expression"), &with_variables(environment.clone(), &known));
        known.insert(text("name").to_owned(), compiled.map_or(Type::Dyn, |c| c.ty().clone()));
    }
    with_variables(environment, &known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apps() -> BTreeMap<String, Document> {
        let document = json!({
            "paths": {"/apis/apps/v1/namespaces/{namespace}/deployments": {"post": {
                "x-kubernetes-group-version-kind": {"group": "apps", "version": "v1", "kind": "Deployment"}}}},
            "components": {"schemas": {
                "Deployment": {"type": "object",
                    "x-kubernetes-group-version-kind": [{"group": "apps", "version": "v1", "kind": "Deployment"}],
                    "properties": {"spec": {"allOf": [{"$ref": "#/components/schemas/Spec"}]}}},
                "Spec": {"type": "object", "properties": {"replicas": {"type": "integer"},
                    "template": {"$ref": "#/components/schemas/Spec"}, "namespace": {"type": "string"}}},
            }},
        });
        BTreeMap::from([("apps/v1".to_owned(), Document::new(document))])
    }

    fn policy(validations: Value) -> Value {
        json!({"spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"],
                "resources": ["deployments", "deployments/status"]}]},
            "variables": [{"name": "n", "expression": "object.spec.replicas"}],
            "validations": validations}})
    }

    #[test]
    fn expressions_are_checked_against_the_types_that_rules_name() {
        let good = json!([{"expression": "variables.n > 1 && object.spec.template.__namespace__ == 'x'"}]);
        assert_eq!(warnings(&policy(good), &apps()), Vec::<Value>::new());
        let bad = json!([{"expression": "object.spec.replicas > '1'", "messageExpression": "object.spec.nope"}]);
        let found = warnings(&policy(bad), &apps());
        assert_eq!(found.len(), 2);
        assert_eq!(found[0]["fieldRef"], "spec.validations[0].expression");
        assert_eq!(
            found[0]["warning"],
            "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'\n | object.spec.replicas > '1'\n | .....................^\n"
        );
        assert!(found[1]["warning"].as_str().is_some_and(|w| w.contains("undefined field 'nope'")));
    }

    #[test]
    fn wildcards_are_not_looked_at() {
        let mut policy = policy(json!([{"expression": "object.nope"}]));
        policy["spec"]["matchConstraints"]["resourceRules"][0]["apiVersions"] = json!(["*"]);
        assert!(versions(&policy).is_empty() && warnings(&policy, &apps()).is_empty());
    }
}
