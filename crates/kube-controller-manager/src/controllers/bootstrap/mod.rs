//! Bootstrap tokens: removes expired ones, and signs the cluster-info ConfigMap with those that are for signing.

mod plan;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use api_types::k8s_openapi::api::core::v1::{ConfigMap, Secret};
use controller_runtime::{Action, BoxError, ObjectKey, Outcome, Selection, SharedInformer, Store, WorkQueue};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, PostParams, Preconditions},
};

use crate::context::Context;

const TOKEN_NAMESPACE: &str = "kube-system";
const INFO_NAMESPACE: &str = "kube-public";
const INFO_NAME: &str = "cluster-info";

fn tokens(context: &Context) -> SharedInformer<Secret> {
    let selection = Selection::default().fields(&format!("type={}", plan::TYPE));
    context.informer_in(TOKEN_NAMESPACE, selection)
}

pub(crate) fn start_cleaner(context: &Context) -> Result<(), BoxError> {
    let queue = WorkQueue::new();
    let secrets = tokens(context);
    secrets.enqueue_to(&queue);
    let (store, client) = (secrets.store().clone(), context.client.clone());
    context.run(&queue, move |key| clean(client.clone(), store.clone(), key));
    Ok(())
}

async fn clean(client: Client, secrets: Store<Secret>, key: ObjectKey) -> Outcome {
    let Some(secret) = secrets.get(&key) else { return Ok(Action::Done) };
    match plan::expires_in(&secret, component_base::clock::now()) {
        None => Ok(Action::Done),
        Some(seconds) if seconds > 0 => Ok(Action::RequeueAfter(Duration::from_secs(seconds.unsigned_abs()))),
        Some(_) => {
            let preconditions = Preconditions { uid: secret.uid(), resource_version: None };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            let api = Api::<Secret>::namespaced(client, &key.namespace);
            match api.delete(&key.name, &params).await {
                Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(Action::Done),
                result => result.map(|_| Action::Done).map_err(Into::into),
            }
        }
    }
}

struct Signer {
    client: Client,
    secrets: Store<Secret>,
    info: Store<ConfigMap>,
}

pub(crate) fn start_signer(context: &Context) -> Result<(), BoxError> {
    let queue = WorkQueue::new();
    let secrets = tokens(context);
    let selection = Selection::default().fields(&format!("metadata.name={INFO_NAME}"));
    let info = context.informer_in::<ConfigMap>(INFO_NAMESPACE, selection);
    let (on_secret, on_info) = (queue.clone(), queue.clone());
    secrets.on_event(move |_| on_secret.add(ObjectKey::new(INFO_NAMESPACE, INFO_NAME)));
    info.on_event(move |_| on_info.add(ObjectKey::new(INFO_NAMESPACE, INFO_NAME)));
    let signer = Arc::new(Signer {
        client: context.client.clone(),
        secrets: secrets.store().clone(),
        info: info.store().clone(),
    });
    context.run(&queue, move |key| signer.clone().sign(key));
    Ok(())
}

impl Signer {
    async fn sign(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let Some(map) = self.info.get(&key) else { return Ok(Action::Done) };
        let now = component_base::clock::now();
        let tokens: Vec<_> = self.secrets.list().iter().filter_map(|secret| plan::signing_token(secret, now)).collect();
        let signed = plan::signed(&map, &tokens);
        if signed != *map {
            Api::namespaced(self.client.clone(), &key.namespace)
                .replace(&key.name, &PostParams::default(), &signed)
                .await?;
        }
        Ok(Action::Done)
    }
}
