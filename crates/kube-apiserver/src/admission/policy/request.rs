//! A request as policies and webhooks look at it.

use std::sync::Arc;

use apiserver::{
    admission::{Attributes, Operation},
    authz,
    error::{Error, Result},
    meta,
    model::Resource,
    user::{ALL_AUTHENTICATED, UserInfo},
};
use kube_cel::{Check, Value as Cel};
use serde_json::{Value, json};

use super::{
    activation::{Answers, Inputs, Unanswered},
    compiled::{Binding, Policy},
    matching::{self, Labels, Target},
    params,
};
use crate::cell::CoreCell;

/// A request, and what of the cluster it is about.
pub(in crate::admission) struct Request<'a> {
    cell: &'a CoreCell,
    pub(in crate::admission) attributes: &'a Attributes<'a>,
    /// The resource of the request, then the same in its other versions.
    versions: Vec<Arc<Resource>>,
    /// The labels that namespace selectors look at.
    namespace_labels: Option<Value>,
    /// The namespace that the request is in.
    namespace: Value,
}

impl<'a> Request<'a> {
    pub(in crate::admission) async fn new(
        cell: &'a CoreCell,
        attributes: &'a Attributes<'a>,
        object: &Value,
    ) -> Result<Request<'a>> {
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
    pub(in crate::admission) fn find(
        &self,
        matches: &matching::Match,
        object: &Value,
    ) -> std::result::Result<Option<&Arc<Resource>>, String> {
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

    pub(in crate::admission) fn name<'o>(&self, object: &'o Value) -> &'o str
    where
        'a: 'o,
    {
        if self.attributes.name.is_empty() { meta::name(object) } else { self.attributes.name }
    }

    /// The variables for a policy that is about `resource`.
    pub(in crate::admission) async fn inputs(&self, resource: &Resource, object: &Value) -> Result<Inputs> {
        let seen = async |value: &Value| -> Result<Cel> {
            if value.is_null() { Ok(Cel::Null) } else { Ok(Cel::from_json(&self.converted(value, resource).await?)) }
        };
        Ok(Inputs {
            object: seen(object).await?,
            old_object: seen(self.attributes.old.unwrap_or(&Value::Null)).await?,
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
    pub(in crate::admission) async fn converted(&self, object: &Value, resource: &Resource) -> Result<Value> {
        self.attributes.resource.convert_to(resource, object.clone()).await
    }

    /// Takes over what was made of `object`, in the version of `resource`: with its defaults, in the version of the request. Whether it
    /// changed (defaults aside).
    pub(in crate::admission) async fn adopt(
        &self,
        made: Value,
        resource: &Resource,
        object: &mut Value,
    ) -> Result<bool> {
        let mut made = made;
        resource.format.stamp(&mut made);
        let made = api_types::json::decode_value(&made, &resource.format.schema).map_err(Error::internal)?;
        let mut made = made.value;
        let mut before = self.converted(object, resource).await?;
        resource.format.stamp(&mut before);
        let changed = made != before;
        resource.format.strategy.default(&mut made);
        *object = resource.convert_to(self.attributes.resource, made).await?;
        Ok(changed)
    }

    /// The request as an AdmissionRequest, without its objects.
    pub(in crate::admission) fn review(&self, resource: &Resource, object: &Value) -> Value {
        let a = self.attributes;
        let kind = |r: &Resource| {
            let [group, version, kind] = a.kind.unwrap_or([&r.group, &r.version, &r.kind]);
            json!({"group": group, "version": version, "kind": kind})
        };
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
            "options": options(a),
        });
        if !a.subresource.is_empty() {
            review["subResource"] = a.subresource.into();
            review["requestSubResource"] = a.subresource.into();
        }
        review
    }

    /// Runs a decision; asks the authorizer what it has to know on the way.
    pub(in crate::admission) async fn decide<T>(
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
    pub(super) async fn params(&self, policy: &Policy, binding: &Binding) -> std::result::Result<Vec<Value>, String> {
        let (kind, reference) = (policy.param_kind.as_ref(), binding.params.as_ref());
        params::collect(self.cell, kind, reference, self.attributes.namespace).await
    }
}

/// The operation's options, as far as they are known here.
fn options(attributes: &Attributes<'_>) -> Value {
    let kind = match attributes.operation {
        Operation::Create => "CreateOptions",
        Operation::Update => "UpdateOptions",
        Operation::Delete => "DeleteOptions",
        Operation::Connect => return Value::Null,
    };
    let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    if attributes.dry_run {
        options["dryRun"] = json!(["All"]);
    }
    options
}

/// The fields of a namespace that policies may look at.
fn visible_namespace(mut namespace: Value) -> Value {
    if let Some(metadata) = namespace["metadata"].as_object_mut() {
        metadata.remove("managedFields");
        metadata.remove("ownerReferences");
    }
    namespace
}
