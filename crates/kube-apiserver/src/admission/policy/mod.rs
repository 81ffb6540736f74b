//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy: rules in CEL that may refuse requests or change their objects.

mod activation;
mod compiled;
mod decide;
mod matching;
mod params;

use std::sync::Arc;

use apiserver::{
    admission::{Attributes, Operation, Plugin},
    authz,
    error::{Error, Result},
    meta,
    model::Resource,
    user::{ALL_AUTHENTICATED, UserInfo},
};
use async_trait::async_trait;
use kube_cel::{Check, Value as Cel};
use serde_json::{Value, json};

use activation::{Activation, Answers, Inputs, Unanswered};
use compiled::{Binding, Bound, GROUP, Policies, Policy};
use decide::Denial;
use matching::{Labels, Target};

use crate::cell::CoreCell;

/// Objects that no policy is about: a policy could lock everybody out of mending it.
const EXEMPT: [&str; 4] = [
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
];

fn wants(attributes: &Attributes<'_>) -> bool {
    attributes.resource.group != GROUP || !EXEMPT.contains(&attributes.resource.plural.as_str())
}

/// A request as policies look at it.
struct Request<'a> {
    cell: &'a CoreCell,
    attributes: &'a Attributes<'a>,
    /// The resource of the request, then the same in its other versions.
    versions: Vec<Arc<Resource>>,
    /// The labels that namespace selectors look at.
    namespace_labels: Option<Value>,
    /// The namespace that the request is in.
    namespace: Value,
}

impl<'a> Request<'a> {
    async fn new(cell: &'a CoreCell, attributes: &'a Attributes<'a>, object: &Value) -> Result<Request<'a>> {
        let core = cell.core()?;
        let own = attributes.resource;
        let mut versions: Vec<Arc<Resource>> = core.catalog.all().into_iter().filter(|r| r.same_storage(own)).collect();
        versions.sort_by_key(|r| r.version != own.version);
        let is_namespace = own.group.is_empty() && own.plural == "namespaces";
        let (namespace, namespace_labels) = if is_namespace {
            let about = if object.is_null() { attributes.old.unwrap_or(&Value::Null) } else { object };
            (Value::Null, Some(about["metadata"]["labels"].clone()))
        } else if attributes.namespace.is_empty() {
            (Value::Null, None)
        } else {
            let found = cell.find("", "namespaces", "", attributes.namespace).await?;
            let found = found.ok_or_else(|| Error::not_found("", "namespaces", attributes.namespace))?;
            let labels = found["metadata"]["labels"].clone();
            (visible_namespace(Value::clone(&found)), Some(labels))
        };
        Ok(Request { cell, attributes, versions, namespace_labels, namespace })
    }

    /// The version of the resource that something is about, if it is about this request.
    fn find(&self, matches: &matching::Match, object: &Value) -> std::result::Result<Option<&Arc<Resource>>, String> {
        let name = self.name(object);
        let targets: Vec<Target<'_>> = self
            .versions
            .iter()
            .map(|resource| Target {
                operation: self.attributes.operation.name(),
                group: &resource.group,
                version: &resource.version,
                plural: &resource.plural,
                subresource: self.attributes.subresource,
                namespaced: resource.namespaced,
                name,
            })
            .collect();
        let old = self.attributes.old.unwrap_or(&Value::Null);
        let labels = Labels { object, old, namespace: self.namespace_labels.as_ref() };
        Ok(matches.find(&targets, labels)?.and_then(|index| self.versions.get(index)))
    }

    fn name<'o>(&self, object: &'o Value) -> &'o str
    where
        'a: 'o,
    {
        if self.attributes.name.is_empty() { meta::name(object) } else { self.attributes.name }
    }

    /// The variables for a policy that is about `resource`.
    fn inputs(&self, resource: &Resource, object: &Value) -> Result<Inputs> {
        let seen = |value: &Value| -> Result<Cel> {
            if value.is_null() { Ok(Cel::Null) } else { Ok(Cel::from_json(&self.converted(value, resource)?)) }
        };
        Ok(Inputs {
            object: seen(object)?,
            old_object: seen(self.attributes.old.unwrap_or(&Value::Null))?,
            request: Cel::from_json(&self.review(resource, object)),
            namespace: Cel::from_json(&self.namespace),
            resource: Check {
                group: self.attributes.resource.group.clone(),
                resource: self.attributes.resource.plural.clone(),
                subresource: self.attributes.subresource.to_owned(),
                namespace: self.attributes.namespace.to_owned(),
                name: self.name(object).to_owned(),
                ..Check::default()
            },
        })
    }

    /// An object of the request in the version of `resource`.
    fn converted(&self, object: &Value, resource: &Resource) -> Result<Value> {
        self.attributes.resource.convert_to(resource, object.clone())
    }

    /// The request as an AdmissionRequest.
    fn review(&self, resource: &Resource, object: &Value) -> Value {
        let a = self.attributes;
        let kind = |r: &Resource| json!({"group": r.group, "version": r.version, "kind": r.kind});
        let plural = |r: &Resource| json!({"group": r.group, "version": r.version, "resource": r.plural});
        let mut review = json!({
            "kind": kind(resource),
            "resource": plural(resource),
            "requestKind": kind(a.resource),
            "requestResource": plural(a.resource),
            "name": self.name(object),
            "namespace": a.namespace,
            "operation": a.operation.name(),
            "userInfo": {"username": a.user.name, "uid": a.user.uid, "groups": a.user.groups, "extra": a.user.extra},
            "dryRun": a.dry_run,
            "options": {},
        });
        if !a.subresource.is_empty() {
            review["subResource"] = a.subresource.into();
            review["requestSubResource"] = a.subresource.into();
        }
        review
    }

    /// Runs a decision; asks the authorizer what it has to know on the way.
    async fn decide<T>(
        &self,
        answers: &mut Answers,
        decide: impl Fn(&Answers) -> std::result::Result<T, Unanswered>,
    ) -> Result<T> {
        loop {
            match decide(answers) {
                Ok(decided) => return Ok(decided),
                Err(Unanswered(question)) => {
                    let answer = self.ask(&question).await?;
                    answers.insert(*question, answer);
                }
            }
        }
    }

    async fn ask(&self, question: &Check) -> Result<(bool, String)> {
        let user = match &question.service_account {
            None => self.attributes.user.clone(),
            Some((namespace, name)) => UserInfo::new(
                &format!("system:serviceaccount:{namespace}:{name}"),
                &["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}"), ALL_AUTHENTICATED],
            ),
        };
        let asked = authz::Attributes {
            user,
            verb: question.verb.clone(),
            namespace: question.namespace.clone(),
            group: question.group.clone(),
            version: "*".to_owned(),
            resource: question.resource.clone(),
            subresource: question.subresource.clone(),
            name: question.name.clone(),
            path: question.path.clone(),
            is_resource: question.path.is_empty(),
            field_selector: question.field_selector.clone(),
        };
        let decision = self.cell.core()?.authorizer.authorize(&asked).await;
        Ok((decision.verdict == authz::Verdict::Allow, decision.reason))
    }

    /// The sets of parameters that a binding applies a policy with.
    fn params(&self, policy: &Policy, binding: &Binding) -> std::result::Result<Vec<Value>, String> {
        params::collect(self.cell, policy.param_kind.as_ref(), binding.params.as_ref(), self.attributes.namespace)
    }
}

/// The fields of a namespace that policies may look at.
fn visible_namespace(mut namespace: Value) -> Value {
    if let Some(metadata) = namespace["metadata"].as_object_mut() {
        metadata.remove("managedFields");
        metadata.remove("ownerReferences");
    }
    namespace
}

/// Refuses what policies that are bound say should not pass.
pub(super) struct ValidatingAdmissionPolicy {
    cell: CoreCell,
    policies: Policies,
}

impl ValidatingAdmissionPolicy {
    pub(super) fn new(cell: CoreCell) -> Self {
        ValidatingAdmissionPolicy { policies: Policies::validating(cell.clone()), cell }
    }

    /// What a policy has against a request: (binding, denial). The bindings warn on the way.
    async fn judge(
        &self,
        request: &Request<'_>,
        bound: &Bound,
        object: &Value,
    ) -> Result<Vec<(Option<String>, Denial)>> {
        let policy = &bound.policy;
        let failed = |message: String| {
            let denial = Denial { message, reason: String::new() };
            if policy.ignores_errors { Vec::new() } else { vec![denial] }
        };
        let resource = match request.find(&policy.matches, object) {
            Ok(Some(resource)) => resource,
            Ok(None) => return Ok(Vec::new()),
            Err(error) => {
                let denials = failed(format!("failed to configure policy: {error}"));
                return Ok(denials.into_iter().map(|d| (None, d)).collect());
            }
        };
        let inputs = request.inputs(resource, object)?;
        let mut denials = Vec::new();
        let mut answers = Answers::new();
        for binding in &bound.bindings {
            let params = match request.find(&binding.matches, object) {
                Ok(None) => continue,
                Ok(Some(_)) => request.params(policy, binding),
                Err(error) => Err(error),
            };
            let name = || Some(binding.name.clone());
            let params = match params {
                Ok(params) => params,
                Err(error) => {
                    let found = failed(format!("failed to configure binding: {error}"));
                    denials.extend(found.into_iter().map(|d| (name(), d)));
                    continue;
                }
            };
            for params in params {
                let params = Cel::from_json(&params);
                let judge = |answers: &Answers| {
                    decide::validate(policy, &Activation::new(policy, &inputs, params.clone(), answers))
                };
                for denial in request.decide(&mut answers, judge).await? {
                    if binding.actions.iter().any(|a| a == "Warn") {
                        request.attributes.warnings.add(format!(
                            "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                            policy.name, binding.name, denial.message
                        ));
                    }
                    if binding.actions.iter().any(|a| a == "Deny") {
                        denials.push((name(), denial));
                    }
                }
            }
        }
        Ok(denials)
    }
}

#[async_trait]
impl Plugin for ValidatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionPolicy"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        wants(attributes)
    }

    async fn validate(&self, attributes: &Attributes<'_>, object: &Value) -> Result<()> {
        let bound = self.policies.bound()?;
        if bound.is_empty() {
            return Ok(());
        }
        let request = Request::new(&self.cell, attributes, object).await?;
        let mut first = None;
        for bound in &bound {
            let denials = self.judge(&request, bound, object).await?;
            first = first.or_else(|| denials.into_iter().next().map(|denial| (bound.policy.name.clone(), denial)));
        }
        match first {
            None => Ok(()),
            Some((policy, (binding, denial))) => {
                Err(refusal("ValidatingAdmissionPolicy", attributes, object, &policy, binding.as_deref(), &denial))
            }
        }
    }
}

/// The answer to a request that a policy refuses.
fn refusal(
    kind: &str,
    attributes: &Attributes<'_>,
    object: &Value,
    policy: &str,
    binding: Option<&str>,
    denial: &Denial,
) -> Error {
    let with = binding.map_or_else(String::new, |b| format!(" with binding '{b}'"));
    let message = format!("{kind} '{policy}'{with} denied request: {}", denial.message);
    let resource = attributes.resource;
    let name = if attributes.name.is_empty() { meta::name(object) } else { attributes.name };
    let mut error = Error::forbidden(&resource.group, &resource.plural, name, &message);
    (error.code, error.reason) = match denial.reason.as_str() {
        "Forbidden" => (403, "Forbidden"),
        "Unauthorized" => (401, "Unauthorized"),
        "RequestEntityTooLarge" => (413, "RequestEntityTooLarge"),
        _ => (422, "Invalid"),
    };
    error.details_mut().causes.push(api_types::Cause { message, ..api_types::Cause::default() });
    error
}

/// Changes objects as policies that are bound say.
pub(super) struct MutatingAdmissionPolicy {
    cell: CoreCell,
    policies: Policies,
}

impl MutatingAdmissionPolicy {
    pub(super) fn new(cell: CoreCell) -> Self {
        MutatingAdmissionPolicy { policies: Policies::mutating(cell.clone()), cell }
    }

    /// Applies a policy with each binding and each set of parameters.
    async fn apply(&self, request: &Request<'_>, bound: &Bound, object: &mut Value) -> Result<()> {
        let policy = &bound.policy;
        let refuse = |binding: Option<&str>, object: &Value, message: String| {
            if policy.ignores_errors {
                return Ok(());
            }
            let denial = Denial { message, reason: String::new() };
            Err(refusal("MutatingAdmissionPolicy", request.attributes, object, &policy.name, binding, &denial))
        };
        let resource = match request.find(&policy.matches, object) {
            Ok(Some(resource)) => Arc::clone(resource),
            Ok(None) => return Ok(()),
            Err(error) => return refuse(None, object, format!("failed to configure policy: {error}")),
        };
        for binding in &bound.bindings {
            let params = match request.find(&binding.matches, object) {
                Ok(None) => continue,
                Ok(Some(_)) => request.params(policy, binding),
                Err(error) => Err(error),
            };
            match params {
                Err(error) => refuse(Some(&binding.name), object, format!("failed to configure binding: {error}"))?,
                Ok(all) => {
                    for params in all {
                        let key = format!(
                            "{}/{}/{}/{}",
                            policy.name,
                            binding.name,
                            meta::namespace(&params),
                            meta::name(&params)
                        );
                        if !request.attributes.reinvocation.is_due(self.name(), &key) {
                            continue;
                        }
                        let before = object.clone();
                        if let Err(error) = self.invoke(request, policy, &resource, &params, object).await? {
                            refuse(Some(&binding.name), object, error)?;
                        }
                        let changed = before != *object;
                        request.attributes.reinvocation.ran(self.name(), &key, changed, policy.reinvoked);
                    }
                }
            }
        }
        Ok(())
    }

    /// All mutations of a policy; the inner error is the policy's.
    async fn invoke(
        &self,
        request: &Request<'_>,
        policy: &Policy,
        resource: &Resource,
        params: &Value,
        object: &mut Value,
    ) -> Result<std::result::Result<(), String>> {
        let params = Cel::from_json(params);
        let mut answers = Answers::new();
        let inputs = request.inputs(resource, object)?;
        let conditions = |answers: &Answers| Activation::new(policy, &inputs, params.clone(), answers).conditions();
        match request.decide(&mut answers, conditions).await? {
            Ok(true) => {}
            Ok(false) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        }
        for mutation in &policy.mutations {
            let inputs = request.inputs(resource, object)?;
            let now = request.converted(object, resource)?;
            let mutate = |answers: &Answers| {
                let seen = Activation::new(policy, &inputs, params.clone(), answers);
                decide::mutate(mutation, &now, &resource.format.schema, &seen)
            };
            match request.decide(&mut answers, mutate).await? {
                Ok(mut made) => {
                    resource.format.stamp(&mut made);
                    let made =
                        api_types::json::decode_value(&made, &resource.format.schema).map_err(Error::internal)?;
                    let mut made = made.value;
                    resource.format.strategy.default(&mut made);
                    *object = resource.convert_to(request.attributes.resource, made)?;
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(()))
    }
}

#[async_trait]
impl Plugin for MutatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        "MutatingAdmissionPolicy"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        wants(attributes) && attributes.operation != Operation::Delete
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<()> {
        let bound = self.policies.bound()?;
        if bound.is_empty() {
            return Ok(());
        }
        let request = Request::new(&self.cell, attributes, object).await?;
        attributes.reinvocation.begin(self.name(), object);
        for bound in &bound {
            self.apply(&request, bound, object).await?;
        }
        attributes.reinvocation.end(self.name(), object);
        Ok(())
    }
}
