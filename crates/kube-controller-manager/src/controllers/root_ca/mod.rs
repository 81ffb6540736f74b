//! Publishes the cluster's root CA as ConfigMap `kube-root-ca.crt` in each namespace, where pods' projected volumes take it from.

use std::{collections::BTreeMap, sync::Arc};

use api_types::k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use controller_runtime::{Action, BoxError, ObjectKey, Outcome, Selection, Store, WorkQueue};
use kube::{Api, Client, ResourceExt, api::PostParams};

use crate::context::Context;

const NAME: &str = "kube-root-ca.crt";
const DATA_KEY: &str = "ca.crt";
const DESCRIPTION_KEY: &str = "kubernetes.io/description";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as \
     the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

struct Publisher {
    client: Client,
    namespaces: Store<Namespace>,
    maps: Store<ConfigMap>,
    root_ca: String,
}

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let Some(root_ca) = context.shared.config.root_ca.clone() else {
        tracing::info!("no --root-ca-file: kube-root-ca.crt is not published");
        return Ok(());
    };
    let queue = WorkQueue::new();
    let namespaces = context.informer::<Namespace>();
    // Only the published maps: the others are of no interest to any controller.
    let maps = context.informer_of::<ConfigMap>(Selection::default().fields(&format!("metadata.name={NAME}")));
    namespaces.enqueue_to(&queue);
    let on_map = queue.clone();
    maps.on_event(move |event| on_map.add(ObjectKey::cluster(event.object().namespace().unwrap_or_default())));
    let publisher = Arc::new(Publisher {
        client: context.client.clone(),
        namespaces: namespaces.store().clone(),
        maps: maps.store().clone(),
        root_ca,
    });
    context.run(&queue, move |key| reconcile(publisher.clone(), key));
    Ok(())
}

/// What has to be written.
#[derive(Debug, PartialEq)]
enum Write {
    Create(ConfigMap),
    Update(ConfigMap),
}

fn plan(namespace: Option<&Namespace>, current: Option<&ConfigMap>, root_ca: &str, name: &str) -> Option<Write> {
    namespace.filter(|ns| ns.metadata.deletion_timestamp.is_none())?;
    let data = BTreeMap::from([(DATA_KEY.to_owned(), root_ca.to_owned())]);
    let Some(current) = current else {
        let metadata = ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: Some(name.to_owned()),
            annotations: Some(BTreeMap::from([(DESCRIPTION_KEY.to_owned(), DESCRIPTION.to_owned())])),
            ..ObjectMeta::default()
        };
        return Some(Write::Create(ConfigMap { metadata, data: Some(data), ..ConfigMap::default() }));
    };
    let described = current.annotations().get(DESCRIPTION_KEY).is_some_and(|d| d == DESCRIPTION);
    if current.data.as_ref() == Some(&data) && described {
        return None;
    }
    let mut update = current.clone();
    update.data = Some(data);
    update.annotations_mut().insert(DESCRIPTION_KEY.to_owned(), DESCRIPTION.to_owned());
    Some(Write::Update(update))
}

async fn reconcile(publisher: Arc<Publisher>, key: ObjectKey) -> Outcome {
    let namespace = publisher.namespaces.get(&key);
    let current = publisher.maps.get_in(&key.name, NAME);
    let api = Api::<ConfigMap>::namespaced(publisher.client.clone(), &key.name);
    let result = match plan(namespace.as_deref(), current.as_deref(), &publisher.root_ca, &key.name) {
        None => return Ok(Action::Done),
        Some(Write::Create(map)) => api.create(&PostParams::default(), &map).await,
        Some(Write::Update(map)) => api.replace(NAME, &PostParams::default(), &map).await,
    };
    match result {
        Ok(_) => Ok(Action::Done),
        Err(error) if crate::pods::is_namespace_terminating(&error) => Ok(Action::Done),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_once_and_repaired() {
        let namespace = Namespace::default();
        assert_eq!(plan(None, None, "ca", "a"), None);
        let Some(Write::Create(map)) = plan(Some(&namespace), None, "ca", "a") else { panic!("not created") };
        assert_eq!(plan(Some(&namespace), Some(&map), "ca", "a"), None);
        assert!(matches!(plan(Some(&namespace), Some(&map), "new ca", "a"), Some(Write::Update(_))));
        let mut bare = map.clone();
        bare.metadata.annotations = None;
        assert_eq!(plan(Some(&namespace), Some(&bare), "ca", "a"), Some(Write::Update(map)));
    }
}
