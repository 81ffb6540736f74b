//! MutatingAdmissionWebhook and ValidatingAdmissionWebhook: services of the cluster's users that may refuse requests or change their objects.
//!
//! Which hooks a request goes to is decided as for policies; what an answer means is decided in [`review`]. A hook that can't be asked
//! refuses the request or not, by its `failurePolicy`; one that says no always does.

mod hook;
mod metrics;
mod review;

use std::sync::Arc;

use apiserver::{
    admission::{Attributes, Plugin},
    audit,
    error::{Error, Result},
    model::Resource,
};
use async_trait::async_trait;
use futures::future::join_all;
use serde_json::Value;

use hook::{Hook, Hooks};
use metrics::Outcome;
use review::Answer;
use tokio::time::Instant;

use super::policy::{Activation, Answers, GROUP, Request};
use crate::cell::CoreCell;

/// Objects that no webhook is about: one could lock everybody out of mending it.
const EXEMPT: [&str; 6] = [
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
    "mutatingwebhookconfigurations",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "validatingwebhookconfigurations",
];

fn wants(attributes: &Attributes<'_>) -> bool {
    attributes.resource.group != GROUP || !EXEMPT.contains(&attributes.resource.plural.as_str())
}

/// Why a hook does not let a request pass.
enum Failure {
    /// It could not be asked, or what it said is no answer: why, and a code for the metrics.
    Calling(String, u16),
    /// The client is told this.
    Refused(Error),
}

impl Failure {
    /// The client's answer; none if the hook's failures don't count.
    fn judge(self, hook: &Hook) -> Option<Error> {
        match self {
            Failure::Refused(error) => Some(error),
            Failure::Calling(why, _) => {
                let message = format!("failed calling webhook {:?}: {why}", hook.name);
                tracing::warn!(webhook = hook.name, why, ignored = hook.ignores_failures, "calling a webhook failed");
                (!hook.ignores_failures).then(|| Error::internal(message))
            }
        }
    }
}

impl Hook {
    /// The version of the resource that it wants to see, if the request concerns it.
    async fn concerns(&self, request: &Request<'_>, object: &Value) -> Result<Option<Arc<Resource>>> {
        let Some(resource) = request.find(&self.matches, object).map_err(Error::internal)? else { return Ok(None) };
        let resource = Arc::clone(resource);
        if self.conditions.is_empty() {
            return Ok(Some(resource));
        }
        let inputs = request.inputs(&resource, object).await?;
        let conditions = |answers: &Answers| {
            Activation::new(&[], &inputs, kube_cel::Value::Null, answers).conditions(&self.conditions)
        };
        match request.decide(&mut Answers::new(), conditions).await? {
            Ok(holds) => Ok(holds.then_some(resource)),
            Err(_) if self.ignores_failures => Ok(None),
            Err(why) => {
                let own = request.attributes.resource;
                Err(Error::forbidden(&own.group, &own.plural, request.name(object), &why))
            }
        }
    }

    /// Counts how a question ended that was asked at `began`.
    fn count<T>(&self, request: &Request<'_>, mutating: bool, began: Instant, ended: &std::result::Result<T, Failure>) {
        let outcome = match ended {
            Ok(_) => Outcome::Allowed,
            Err(Failure::Refused(error)) => Outcome::Denied(error.code),
            Err(Failure::Calling(_, code)) => Outcome::Failed { code: *code, ignored: self.ignores_failures },
        };
        let kind = if mutating { "admit" } else { "validating" };
        metrics::record(&self.name, kind, request.attributes.operation.name(), began.elapsed(), outcome);
    }

    /// Asks about a request; passes warnings on.
    async fn ask(
        &self,
        request: &Request<'_>,
        resource: &Resource,
        object: &Value,
        mutating: bool,
    ) -> std::result::Result<Answer, Failure> {
        let attributes = request.attributes;
        if attributes.dry_run && !self.allows_dry_run {
            let message = format!("admission webhook {:?} does not support dry run", self.name);
            return Err(Failure::Refused(Error::bad_request(message)));
        }
        let failed =
            |what: &str, why: &dyn std::fmt::Display, code: u16| Failure::Calling(format!("{what}: {why}"), code);
        let version = self.version.ok_or_else(|| {
            failed(
                "could not create admission objects",
                &"webhook does not accept known AdmissionReview versions (v1, v1beta1)",
                400,
            )
        })?;
        let client = self.client.as_ref().map_err(|why| failed("could not get REST client", why, 400))?;
        let uid = component_base::rng::uuid();
        let seen = async |value: &Value| -> std::result::Result<Value, Failure> {
            if value.is_null() {
                return Ok(Value::Null);
            }
            let mut seen = request.converted(value, resource).await.map_err(Failure::Refused)?;
            if attributes.kind.is_none() {
                resource.format.stamp(&mut seen);
            }
            Ok(seen)
        };
        let (new, old) = (seen(object).await?, seen(attributes.old.unwrap_or(&Value::Null)).await?);
        let question = review::question(version, &uid, request.review(resource, object), new, old);
        let answer = client.call(&question, self.timeout).await;
        let answer = answer.map_err(|none| failed("failed to call webhook", &none.why, none.code))?;
        let answer = review::read(&answer, version, &uid, mutating)
            .map_err(|why| failed("received invalid webhook response", &why, 503))?;
        answer.warnings.iter().for_each(|warning| attributes.warnings.add(warning));
        for (key, value) in &answer.annotations {
            audit::annotate(&format!("{}/{key}", self.name), value);
        }
        match answer.allowed {
            true => Ok(answer),
            false => Err(Failure::Refused(review::refusal(&self.name, &answer.status))),
        }
    }
}

/// Refuses what hooks say should not pass.
pub(super) struct ValidatingAdmissionWebhook {
    cell: CoreCell,
    hooks: Hooks,
}

impl ValidatingAdmissionWebhook {
    /// `to_endpoints`: services are reached at their endpoints, not at their address.
    pub(super) fn new(cell: CoreCell, to_endpoints: bool) -> Self {
        let hooks = Hooks::new(cell.clone(), "validatingwebhookconfigurations", to_endpoints);
        ValidatingAdmissionWebhook { cell, hooks }
    }
}

#[async_trait]
impl Plugin for ValidatingAdmissionWebhook {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionWebhook"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        wants(attributes)
    }

    fn connects(&self) -> bool {
        true
    }

    /// All hooks are asked at once; the first of them that objects is heard.
    async fn validate(&self, attributes: &Attributes<'_>, object: &Value) -> Result<()> {
        let hooks = self.hooks.all()?;
        if hooks.is_empty() {
            return Ok(());
        }
        let request = Request::new(&self.cell, attributes, object).await?;
        let mut asked = Vec::new();
        for hook in &hooks {
            if let Some(resource) = hook.concerns(&request, object).await? {
                asked.push((hook, resource));
            }
        }
        let ask = |(hook, resource): &(&Arc<Hook>, Arc<Resource>)| {
            let (hook, resource, request) = (Arc::clone(hook), Arc::clone(resource), &request);
            async move {
                let began = Instant::now();
                let answer = hook.ask(request, &resource, object, false).await;
                hook.count(request, false, began, &answer);
                answer.err().and_then(|failure| failure.judge(&hook))
            }
        };
        join_all(asked.iter().map(ask)).await.into_iter().flatten().next().map_or(Ok(()), Err)
    }
}

/// Changes objects as hooks say, one after the other.
pub(super) struct MutatingAdmissionWebhook {
    cell: CoreCell,
    hooks: Hooks,
}

impl MutatingAdmissionWebhook {
    /// `to_endpoints`: services are reached at their endpoints, not at their address.
    pub(super) fn new(cell: CoreCell, to_endpoints: bool) -> Self {
        let hooks = Hooks::new(cell.clone(), "mutatingwebhookconfigurations", to_endpoints);
        MutatingAdmissionWebhook { cell, hooks }
    }

    /// Whether the hook changed the object.
    async fn apply(
        &self,
        hook: &Hook,
        request: &Request<'_>,
        resource: &Resource,
        object: &mut Value,
    ) -> std::result::Result<bool, Failure> {
        let answer = hook.ask(request, resource, object, true).await?;
        let Some(patch) = answer.patch else { return Ok(false) };
        let patch = review::operations(&patch).map_err(|why| Failure::Refused(Error::internal(why)))?;
        if patch.is_empty() {
            return Ok(false);
        }
        if object.is_null() || request.attributes.kind.is_some() {
            let message = format!(
                "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
                hook.name
            );
            return Err(Failure::Refused(Error::internal(message)));
        }
        if answer.patch_type != "JSONPatch" {
            return Err(Failure::Calling(format!("unsupported patch type {:?}", answer.patch_type), 503));
        }
        let before = request.converted(object, resource).await.map_err(Failure::Refused)?;
        let mut made = before.clone();
        resource.format.stamp(&mut made);
        json_patch::patch(&mut made, &patch).map_err(|why| Failure::Refused(Error::internal(why)))?;
        let changed = request.adopt(made, resource, object).await.map_err(Failure::Refused)?;
        Ok(changed)
    }
}

#[async_trait]
impl Plugin for MutatingAdmissionWebhook {
    fn name(&self) -> &'static str {
        "MutatingAdmissionWebhook"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        wants(attributes)
    }

    fn connects(&self) -> bool {
        true
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<()> {
        let hooks = self.hooks.all()?;
        if hooks.is_empty() {
            return Ok(());
        }
        let request = Request::new(&self.cell, attributes, object).await?;
        attributes.reinvocation.begin(self.name(), object);
        for hook in &hooks {
            let Some(resource) = hook.concerns(&request, object).await? else { continue };
            if !attributes.reinvocation.is_due(self.name(), &hook.key) {
                continue;
            }
            let began = Instant::now();
            let outcome = self.apply(hook, &request, &resource, object).await;
            hook.count(&request, true, began, &outcome);
            let changed = matches!(outcome, Ok(true));
            attributes.reinvocation.ran(self.name(), &hook.key, changed, hook.reinvoked);
            if let Some(error) = outcome.err().and_then(|failure| failure.judge(hook)) {
                return Err(error);
            }
        }
        attributes.reinvocation.end(self.name(), object);
        Ok(())
    }
}
