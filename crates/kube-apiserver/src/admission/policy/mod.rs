//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy: rules in CEL that may refuse requests or change their objects.

mod activation;
mod compiled;
mod decide;
mod matching;
mod params;
mod request;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use apiserver::{
    admission::{Attributes, Operation, Plugin},
    audit,
    error::{Error, Result},
    meta,
    model::Resource,
};
use async_trait::async_trait;
use kube_cel::Value as Cel;
use serde_json::{Value, json};

pub(super) use activation::{Activation, Answers};
pub(super) use compiled::{Compiled, GROUP, Versions, refresh};
pub(super) use matching::Match;
pub(super) use request::Request;

use compiled::{Binding, Bound, Policies, Policy};
use decide::Denial;

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
            let denial = Denial::failed(message);
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
        let inputs = request.inputs(resource, object).await?;
        let mut denials = Vec::new();
        let mut annotations: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut answers = Answers::new();
        for binding in &bound.bindings {
            let params = match request.find(&binding.matches, object) {
                Ok(None) => continue,
                Ok(Some(_)) => request.params(policy, binding).await,
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
                    decide::validate(policy, &Activation::new(&policy.variables, &inputs, params.clone(), answers))
                };
                let judgement = request.decide(&mut answers, judge).await?;
                for (key, value) in judgement.annotations {
                    annotations.entry(key).or_default().insert(value);
                }
                for denial in judgement.denials {
                    if binding.actions.iter().any(|a| a == "Audit") {
                        tell_of_failure(policy, binding, &denial);
                    }
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
        for (key, values) in annotations {
            let values: Vec<String> = values.into_iter().collect();
            audit::annotate(&format!("{}/{key}", policy.name), &values.join(", "));
        }
        Ok(denials)
    }
}

/// Tells the audit log of a request that a policy would refuse.
fn tell_of_failure(policy: &Policy, binding: &Binding, denial: &Denial) {
    let failure = json!([{
        "message": denial.message, "policy": policy.name, "binding": binding.name,
        "expressionIndex": denial.index, "validationActions": binding.actions,
    }]);
    audit::annotate("validation.policy.admission.k8s.io/validation_failure", &failure.to_string());
}

#[async_trait]
impl Plugin for ValidatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionPolicy"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        wants(attributes)
    }

    fn connects(&self) -> bool {
        true
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
    let (code, reason) = match denial.reason.as_str() {
        "Forbidden" => (403, "Forbidden"),
        "Unauthorized" => (401, "Unauthorized"),
        "RequestEntityTooLarge" => (413, "RequestEntityTooLarge"),
        _ => (422, "Invalid"),
    };
    (error.code, error.reason) = (code, reason.into());
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
            let denial = Denial::failed(message);
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
                Ok(Some(_)) => request.params(policy, binding).await,
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
        let inputs = request.inputs(resource, object).await?;
        let conditions = |answers: &Answers| {
            Activation::new(&policy.variables, &inputs, params.clone(), answers).conditions(&policy.conditions)
        };
        match request.decide(&mut answers, conditions).await? {
            Ok(true) => {}
            Ok(false) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        }
        for mutation in &policy.mutations {
            let inputs = request.inputs(resource, object).await?;
            let now = request.converted(object, resource).await?;
            let mutate = |answers: &Answers| {
                let seen = Activation::new(&policy.variables, &inputs, params.clone(), answers);
                decide::mutate(mutation, &now, &resource.format.schema, &seen)
            };
            match request.decide(&mut answers, mutate).await? {
                Ok(made) => {
                    request.adopt(made, resource, object).await?;
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
