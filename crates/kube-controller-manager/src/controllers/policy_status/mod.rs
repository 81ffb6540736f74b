//! Checks the expressions of ValidatingAdmissionPolicies against the types that they will meet, and says in their status what
//! does not fit. Nothing depends on it: a policy with warnings is in force as any other.

mod plan;
mod types;

use std::{collections::BTreeMap, sync::Arc};

use api_types::k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use controller_runtime::{Action, BoxError, ObjectKey, Outcome, Store, WorkQueue};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::context::Context;
use types::Document;

const MANAGER: &str = "validatingadmissionpolicy-status";

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let queue = WorkQueue::new();
    let policies = context.informer::<ValidatingAdmissionPolicy>();
    policies.enqueue_to(&queue);
    let (store, client) = (Arc::new(policies.store().clone()), context.client.clone());
    context.run(&queue, move |key| reconcile(client.clone(), store.clone(), key));
    Ok(())
}

async fn reconcile(client: Client, policies: Arc<Store<ValidatingAdmissionPolicy>>, key: ObjectKey) -> Outcome {
    let Some(policy) = policies.get(&key) else { return Ok(Action::Done) };
    let generation = policy.metadata.generation.unwrap_or_default();
    let seen = policy.status.as_ref().and_then(|s| s.observed_generation).unwrap_or_default();
    if seen >= generation {
        return Ok(Action::Done);
    }
    let policy = serde_json::to_value(policy.as_ref())?;
    let mut documents = BTreeMap::new();
    for version in plan::versions(&policy) {
        if let Some(document) = fetch(&client, &version).await? {
            documents.insert(version, document);
        }
    }
    let warnings = plan::warnings(&policy, &documents);
    let mut checking = json!({});
    if !warnings.is_empty() {
        checking["expressionWarnings"] = warnings.into();
    }
    let patch = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": key.name},
        "status": {"observedGeneration": generation, "typeChecking": checking},
    });
    let all: Api<ValidatingAdmissionPolicy> = Api::all(client);
    all.patch_status(&key.name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&patch)).await?;
    Ok(Action::Done)
}

/// What the server says of a group version (`v1`, `apps/v1`); none when it has no such version.
async fn fetch(client: &Client, version: &str) -> Result<Option<Document>, BoxError> {
    let part = if version.contains('/') { format!("apis/{version}") } else { format!("api/{version}") };
    let request = http::Request::get(format!("/openapi/v3/{part}")).body(Vec::new())?;
    match client.request::<Value>(request).await {
        Ok(document) => Ok(Some(Document::new(document))),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error.into()),
    }
}
