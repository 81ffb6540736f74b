//! Makes the `default` service account in each namespace that is not being deleted.

use api_types::k8s_openapi::{
    api::core::v1::{Namespace, ServiceAccount},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use controller_runtime::{Action, BoxError, ObjectKey, Outcome, Store, WorkQueue};
use kube::{Api, Client, ResourceExt, api::PostParams};

use crate::context::Context;

const NAME: &str = "default";

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let queue = WorkQueue::new();
    let namespaces = context.informer::<Namespace>();
    let accounts = context.informer::<ServiceAccount>();
    namespaces.enqueue_to(&queue);
    let on_account = queue.clone();
    accounts.on_event(move |event| {
        let account = event.object();
        if event.is_deleted() && account.name_any() == NAME {
            on_account.add(ObjectKey::cluster(account.namespace().unwrap_or_default()));
        }
    });
    let (namespaces, accounts, client) = (namespaces.store().clone(), accounts.store().clone(), context.client.clone());
    context.run(&queue, move |key| reconcile(client.clone(), namespaces.clone(), accounts.clone(), key));
    Ok(())
}

/// Whether the namespace lacks its account.
fn plan(namespace: Option<&Namespace>, accounts: &Store<ServiceAccount>, key: &ObjectKey) -> bool {
    let active = namespace.is_some_and(|ns| ns.metadata.deletion_timestamp.is_none());
    active && accounts.get_in(&key.name, NAME).is_none()
}

async fn reconcile(
    client: Client,
    namespaces: Store<Namespace>,
    accounts: Store<ServiceAccount>,
    key: ObjectKey,
) -> Outcome {
    if !plan(namespaces.get(&key).as_deref(), &accounts, &key) {
        return Ok(Action::Done);
    }
    let metadata =
        ObjectMeta { name: Some(NAME.to_owned()), namespace: Some(key.name.clone()), ..ObjectMeta::default() };
    let account = ServiceAccount { metadata, ..ServiceAccount::default() };
    match Api::<ServiceAccount>::namespaced(client, &key.name).create(&PostParams::default(), &account).await {
        Ok(_) => Ok(Action::Done),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(Action::Done),
        Err(error) if crate::pods::is_namespace_terminating(&error) => Ok(Action::Done),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use std::sync::Arc;

    #[test]
    fn only_living_namespaces_without_account_get_one() {
        let (accounts, key) = (Store::default(), ObjectKey::cluster("a"));
        let mut namespace = Namespace::default();
        assert!(!plan(None, &accounts, &key));
        assert!(plan(Some(&namespace), &accounts, &key));
        accounts.insert(ObjectKey::new("a", NAME), Arc::default());
        assert!(!plan(Some(&namespace), &accounts, &key));
        accounts.remove(&ObjectKey::new("a", NAME));
        namespace.metadata.deletion_timestamp = Some(Time(component_base::clock::now()));
        assert!(!plan(Some(&namespace), &accounts, &key));
    }
}
