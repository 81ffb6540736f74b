//! Policies and bindings as they are stored, compiled; made anew when one of them changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_semantics::cel::{Admission, Results, compile, with_variables};
use api_types::selector::LabelSelector;
use apiserver::{cache::Scope, error::Result};
use kube_cel::{Environment, Expression, Type};
use parking_lot::Mutex;
use serde_json::Value;

use super::matching::Match;
use crate::cell::CoreCell;

pub(in crate::admission) const GROUP: &str = "admissionregistration.k8s.io";

/// An expression, or why it is none.
pub(in crate::admission) type Compiled = std::result::Result<Expression, String>;

/// A policy.
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) matches: Match,
    pub(super) conditions: Vec<Compiled>,
    pub(super) variables: Vec<(String, Compiled)>,
    /// `failurePolicy: Ignore`: errors let the request pass.
    pub(super) ignores_errors: bool,
    /// Group, version and kind of the parameters.
    pub(super) param_kind: Option<[String; 3]>,
    pub(super) validations: Vec<Validation>,
    pub(super) annotations: Vec<Annotation>,
    pub(super) mutations: Vec<Mutation>,
    /// `reinvocationPolicy: IfNeeded`.
    pub(super) reinvoked: bool,
}

pub(super) struct Validation {
    pub(super) expression: Compiled,
    pub(super) source: String,
    pub(super) message: String,
    pub(super) message_expression: Option<Compiled>,
    pub(super) reason: String,
}

pub(super) struct Annotation {
    pub(super) key: String,
    pub(super) expression: Compiled,
    pub(super) source: String,
}

pub(super) struct Mutation {
    /// Whether it makes patches, or an object to lay over.
    pub(super) patches: bool,
    pub(super) expression: Compiled,
}

/// Where and with what a policy is in force.
pub(super) struct Binding {
    pub(super) name: String,
    pub(super) policy: String,
    pub(super) matches: Match,
    pub(super) actions: Vec<String>,
    pub(super) params: Option<ParamRef>,
}

pub(super) struct ParamRef {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) selector: std::result::Result<LabelSelector, String>,
    /// `parameterNotFoundAction: Allow`.
    pub(super) may_be_missing: bool,
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().trim().to_owned()
}

fn items<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    value[name].as_array().into_iter().flatten()
}

impl Policy {
    pub(super) fn new(policy: &Value, mutates: bool) -> Policy {
        let spec = &policy["spec"];
        let options = Admission { params: spec["paramKind"].is_object(), authorizer: true, mutates };
        let plain = options.environment();
        let make = |source: &str, environment: &Environment, results: &Results| {
            compile(source, environment, results).map_err(|e| format!("compilation error: {e}"))
        };
        let conditions =
            items(spec, "matchConditions").map(|c| make(&text(c, "expression"), &plain, &Results::truth())).collect();
        let mut types: BTreeMap<String, Type> = BTreeMap::new();
        let mut variables = Vec::new();
        for variable in items(spec, "variables") {
            let compiled = make(&text(variable, "expression"), &with_variables(plain.clone(), &types), &Results::Any);
            let name = text(variable, "name");
            types.insert(name.clone(), compiled.as_ref().map_or(Type::Dyn, |e| e.ty().clone()));
            variables.push((name, compiled));
        }
        let environment = with_variables(plain, &types);
        let unauthorized = with_variables(Admission { authorizer: false, ..options }.environment(), &types);
        let validation = |rule: &Value| Validation {
            expression: make(&text(rule, "expression"), &environment, &Results::truth()),
            source: text(rule, "expression"),
            message: text(rule, "message"),
            message_expression: Some(text(rule, "messageExpression"))
                .filter(|m| !m.is_empty())
                .map(|m| make(&m, &unauthorized, &Results::text())),
            reason: text(rule, "reason"),
        };
        let annotation = |a: &Value| Annotation {
            expression: make(&text(a, "valueExpression"), &environment, &Results::text_or_null()),
            source: text(a, "valueExpression"),
            key: text(a, "key"),
        };
        let mutation = |m: &Value| {
            let patches = m["patchType"] == "JSONPatch";
            let (form, results) =
                if patches { ("jsonPatch", Results::patches()) } else { ("applyConfiguration", Results::object()) };
            Mutation { patches, expression: make(&text(&m[form], "expression"), &environment, &results) }
        };
        Policy {
            name: text(&policy["metadata"], "name"),
            matches: Match::of(&spec["matchConstraints"]),
            conditions,
            variables,
            ignores_errors: spec["failurePolicy"] == "Ignore",
            param_kind: param_kind(&spec["paramKind"]),
            validations: items(spec, "validations").map(validation).collect(),
            annotations: items(spec, "auditAnnotations").map(annotation).collect(),
            mutations: items(spec, "mutations").map(mutation).collect(),
            reinvoked: spec["reinvocationPolicy"] == "IfNeeded",
        }
    }
}

fn param_kind(kind: &Value) -> Option<[String; 3]> {
    let version = kind["apiVersion"].as_str()?;
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    Some([group.to_owned(), version.to_owned(), text(kind, "kind")])
}

impl Binding {
    pub(super) fn new(binding: &Value) -> Binding {
        let spec = &binding["spec"];
        let reference = &spec["paramRef"];
        let selector = match &reference["selector"] {
            Value::Null => Ok(LabelSelector::everything()),
            selector => LabelSelector::from_object(selector).map_err(|e| e.to_string()),
        };
        let params = reference.is_object().then(|| ParamRef {
            name: text(reference, "name"),
            namespace: text(reference, "namespace"),
            selector,
            may_be_missing: reference["parameterNotFoundAction"] == "Allow",
        });
        Binding {
            name: text(&binding["metadata"], "name"),
            policy: text(spec, "policyName"),
            matches: Match::of(&spec["matchResources"]),
            actions: items(spec, "validationActions").filter_map(|a| a.as_str().map(str::to_owned)).collect(),
            params,
        }
    }
}

/// A policy with what binds it.
#[derive(Clone)]
pub(super) struct Bound {
    pub(super) policy: Arc<Policy>,
    pub(super) bindings: Vec<Arc<Binding>>,
}

/// Objects by name, each with the revision that it was compiled at.
pub(in crate::admission) type Versions<T> = BTreeMap<String, (u64, Arc<T>)>;

/// The compiled policies of one kind.
pub(super) struct Policies {
    cell: CoreCell,
    policies: &'static str,
    bindings: &'static str,
    mutates: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    policies: Versions<Policy>,
    bindings: Versions<Binding>,
}

impl Policies {
    pub(super) fn validating(cell: CoreCell) -> Self {
        let (policies, bindings) = ("validatingadmissionpolicies", "validatingadmissionpolicybindings");
        Policies { cell, policies, bindings, mutates: false, state: Mutex::default() }
    }

    pub(super) fn mutating(cell: CoreCell) -> Self {
        let (policies, bindings) = ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings");
        Policies { cell, policies, bindings, mutates: true, state: Mutex::default() }
    }

    /// All policies that are bound, by name. As fresh as the cache of the server.
    pub(super) fn bound(&self) -> Result<Vec<Bound>> {
        let mut state = self.state.lock();
        refresh(&self.cell, self.policies, &mut state.policies, |v| Policy::new(v, self.mutates))?;
        if state.policies.is_empty() {
            return Ok(Vec::new());
        }
        refresh(&self.cell, self.bindings, &mut state.bindings, Binding::new)?;
        let bound = state.policies.values().map(|(_, policy)| {
            let all = state.bindings.values().filter(|(_, binding)| binding.policy == policy.name);
            Bound { policy: Arc::clone(policy), bindings: all.map(|(_, b)| Arc::clone(b)).collect() }
        });
        Ok(bound.filter(|b| !b.bindings.is_empty()).collect())
    }
}

/// Brings what is known of the objects of a kind up to date with the cache; makes only what changed.
pub(in crate::admission) fn refresh<T>(
    cell: &CoreCell,
    plural: &str,
    known: &mut Versions<T>,
    make: impl Fn(&Value) -> T,
) -> Result<()> {
    let resource = cell.resource(GROUP, plural)?;
    let stored = resource.stored()?;
    let entries = stored.cache.list(&Scope::default()).0;
    let mut before = std::mem::take(known);
    for entry in entries {
        let fresh = before.remove(entry.name()).filter(|(revision, _)| *revision == entry.revision);
        let made = match fresh {
            Some(found) => found,
            None => (entry.revision, Arc::new(make(&entry.value(stored.version)?))),
        };
        known.insert(entry.name().to_owned(), made);
    }
    Ok(())
}
