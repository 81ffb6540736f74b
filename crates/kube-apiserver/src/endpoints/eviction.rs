//! `pods/eviction`: a deletion that disruption budgets may refuse for now.
//!
//! The budget is charged by compare-and-swap on its status before the pod is deleted, so that two evictions can't both
//! take the last allowed disruption.

use std::sync::Arc;

use api_semantics::Part;
use apiserver::{
    error::{Error, Result},
    meta,
    model::Resource,
    options::{DeleteOptions, WriteOptions},
    registry::{Change, Create, Writer},
    respond,
    server::{Body, Call, Core, Endpoint, RequestBody, read_body},
    verbs,
};
use async_trait::async_trait;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::cell::CoreCell;

const POLICY: &str = "policy";
const BUDGETS: &str = "poddisruptionbudgets";

pub(super) struct Eviction(pub(super) CoreCell);

#[async_trait]
impl Endpoint for Eviction {
    async fn serve(&self, mut call: Call) -> Result<Response<Body>> {
        let accepted = respond::negotiate(call.request.headers(), &call.query, false)?;
        let write = WriteOptions::parse(&call.query, "CreateOptions")?;
        let body = read_body(std::mem::replace(call.request.body_mut(), RequestBody::empty())).await?;
        let format = call.core.catalog.format(POLICY, "v1", "Eviction").ok_or_else(Error::no_such_path)?;
        let headers = call.request.headers();
        let eviction = verbs::decode_object(&format, headers, &body, write.field_validation, &call.warnings)?;
        let name = &call.info.name;
        if !meta::name(&eviction).is_empty() && meta::name(&eviction) != name {
            return Err(Error::bad_request(format!(
                "name in URL does not match name in Eviction object: {name} != {}",
                meta::name(&eviction)
            )));
        }
        let mut options = DeleteOptions::parse(eviction.get("deleteOptions"), &call.query)?;
        options.dry_run |= write.dry_run;
        let writer = Writer {
            user: call.user.clone(),
            warnings: call.warnings.clone(),
            dry_run: options.dry_run,
            manager: verbs::manager_name(&call, &write.field_manager),
            applied: false,
        };
        self.evict(&call.core, &call.resource, &call.info.namespace, name, &options, &writer).await?;
        let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
        let body = apiserver::codec::encode_status(accepted.codec, &status);
        Ok(respond::bytes(StatusCode::CREATED, accepted.codec.content_type(), body))
    }
}

impl Eviction {
    async fn evict(
        &self,
        core: &Core,
        pods: &Arc<Resource>,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
        writer: &Writer,
    ) -> Result<()> {
        let pod = core.registry.get_value(pods, namespace, name).await?;
        if !ignores_budgets(&pod) {
            let budgets = self.budgets_of(&pod)?;
            match budgets.as_slice() {
                [] => {}
                [budget] if is_unready(&pod) && allows_unready(budget) => {}
                [budget] => self.charge(core, budget, name, writer).await?,
                _ => {
                    let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
                    return Err(Error::internal(why));
                }
            }
        }
        core.registry.delete(pods, namespace, name, options, writer).await?;
        Ok(())
    }

    /// The budgets whose selector takes in the pod.
    fn budgets_of(&self, pod: &Value) -> Result<Vec<Arc<Value>>> {
        let labels = meta::get(pod, "labels").and_then(Value::as_object);
        let mut found = Vec::new();
        for budget in self.0.list(POLICY, BUDGETS, meta::namespace(pod))? {
            let selector = budget.pointer("/spec/selector").cloned().unwrap_or_default();
            let selector = api_types::LabelSelector::from_object(&selector).map_err(Error::internal)?;
            if selector.matches(labels) {
                found.push(budget);
            }
        }
        Ok(found)
    }

    /// Takes one allowed disruption from the budget and notes the pod in it.
    async fn charge(&self, core: &Core, budget: &Value, pod: &str, writer: &Writer) -> Result<()> {
        let resource = self.0.resource(POLICY, BUDGETS)?;
        let change = Change {
            part: Part::Status,
            subresource: "status",
            make: Box::new(|budget| {
                let budget = budget.ok_or_else(|| resource.not_found(pod))?;
                charged(budget, pod)
            }),
            keeps_owners: true,
            create: Create::Never,
        };
        core.registry.update(&resource, meta::namespace(budget), meta::name(budget), &change, writer).await?;
        Ok(())
    }
}

/// The budget after one more disruption; 429 when it has none left or is not up to date.
fn charged(budget: &Value, pod: &str) -> Result<Value> {
    let status = |field: &str| budget.pointer(&format!("/status/{field}")).and_then(Value::as_i64).unwrap_or(0);
    if status("observedGeneration") < meta::generation(budget) {
        let mut error =
            Error::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 10);
        let why = format!("The disruption budget {} is still being processed by the server.", meta::name(budget));
        error.details_mut().causes.push(cause(why));
        return Err(error);
    }
    let allowed = status("disruptionsAllowed");
    if allowed <= 0 {
        let mut error =
            Error::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 0);
        let why = format!(
            "The disruption budget {} needs {} healthy pods and has {} currently",
            meta::name(budget),
            status("desiredHealthy"),
            status("currentHealthy")
        );
        error.details_mut().causes.push(cause(why));
        return Err(error);
    }
    let mut charged = budget.clone();
    let now = meta::timestamp(component_base::clock::now());
    let status = meta::map_mut(&mut charged, "status");
    status.insert("disruptionsAllowed".to_owned(), (allowed - 1).into());
    let disrupted = status.entry("disruptedPods").or_insert_with(|| json!({}));
    if let Some(disrupted) = disrupted.as_object_mut() {
        disrupted.insert(pod.to_owned(), now);
    }
    Ok(charged)
}

fn cause(message: String) -> api_types::Cause {
    api_types::Cause { reason: "DisruptionBudget".to_owned(), message, field: String::new() }
}

/// Pods that have ended, or never ran, disturb nobody when they go.
fn ignores_budgets(pod: &Value) -> bool {
    let phase = meta::path_text(pod, "status.phase");
    matches!(phase.as_str(), "Succeeded" | "Failed" | "Pending") || meta::is_terminating(pod)
}

fn is_unready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let mut ready = conditions.filter(|c| c.get("type").and_then(Value::as_str) == Some("Ready"));
    !ready.any(|c| c.get("status").and_then(Value::as_str) == Some("True"))
}

/// Whether pods that are not ready may go: always, or while the budget is otherwise met.
fn allows_unready(budget: &Value) -> bool {
    let number = |field: &str| budget.pointer(&format!("/status/{field}")).and_then(Value::as_i64).unwrap_or(0);
    let always = meta::path_text(budget, "spec.unhealthyPodEvictionPolicy") == "AlwaysAllow";
    always || (number("desiredHealthy") > 0 && number("currentHealthy") >= number("desiredHealthy"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_charged_until_it_is_used_up() {
        let budget = json!({
            "metadata": { "name": "b", "generation": 1 },
            "status": { "observedGeneration": 1, "disruptionsAllowed": 1, "desiredHealthy": 2, "currentHealthy": 3 },
        });
        let once = charged(&budget, "p").expect("one disruption is allowed");
        assert_eq!(once["status"]["disruptionsAllowed"], 0);
        assert!(once["status"]["disruptedPods"]["p"].is_string());
        let error = charged(&once, "q").expect_err("none is left");
        assert_eq!(error.code, 429);
        let stale =
            json!({ "metadata": { "generation": 2 }, "status": { "observedGeneration": 1, "disruptionsAllowed": 5 } });
        assert_eq!(charged(&stale, "p").expect_err("stale").details.map(|d| d.retry_after_seconds), Some(10));
    }
}
