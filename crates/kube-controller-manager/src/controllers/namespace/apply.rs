//! One round of deletion.

use std::{sync::Arc, time::Duration};

use api_types::k8s_openapi::api::core::v1::{Namespace, NamespaceStatus, Pod};
use controller_runtime::{Action, ObjectKey, Outcome, Store};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, PartialObjectMeta, PostParams},
};

use super::plan::{self, Remains, Step};
use crate::{
    discovery::{Discovered, Discovery},
    pods,
};

/// Where nothing tells how long remaining objects take.
const USUAL_WAIT: i64 = 15;

pub(super) struct Deleter {
    pub(super) client: Client,
    pub(super) namespaces: Store<Namespace>,
    pub(super) discovery: Discovery,
}

impl Deleter {
    pub(super) async fn reconcile(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let Some(namespace) = self.namespaces.get(&key) else { return Ok(Action::Done) };
        match plan::step(&namespace) {
            Step::Nothing => Ok(Action::Done),
            Step::MarkTerminating => {
                let status = NamespaceStatus {
                    phase: Some("Terminating".to_owned()),
                    ..namespace.status.clone().unwrap_or_default()
                };
                let marked = self.write_status(&namespace, status).await?;
                self.delete_content(&marked).await
            }
            Step::DeleteContent => self.delete_content(&namespace).await,
        }
    }

    async fn delete_content(&self, namespace: &Namespace) -> Outcome {
        let name = namespace.name_any();
        let remains = self.round(&name).await;
        let current = namespace.status.clone().unwrap_or_default();
        let status = plan::status(&current, &remains, component_base::clock::now());
        let written;
        let latest = if status == current {
            namespace
        } else {
            written = self.write_status(namespace, status).await?;
            &written
        };
        if remains.is_empty() {
            self.finalize(latest).await?;
            return Ok(Action::Done);
        }
        if let Some(error) = remains.errors.first().or(remains.discovery_error.as_ref()) {
            return Err(format!("namespace {name} is not empty yet: {error}").into());
        }
        let estimate = if remains.estimate > 0 { remains.estimate } else { USUAL_WAIT };
        // Half the estimate, as upstream; what goes earlier is looked at soon too, by small steps.
        Ok(Action::RequeueAfter(Duration::from_secs((estimate.unsigned_abs() / 2 + 1).min(5))))
    }

    async fn round(&self, namespace: &str) -> Remains {
        let mut remains = Remains::default();
        let served = match self.discovery.served().await {
            Ok(served) => served,
            Err(error) => {
                remains.discovery_error = Some(pods::message(&error));
                return remains;
            }
        };
        if !served.stale.is_empty() {
            let failed: Vec<String> = served
                .stale
                .iter()
                .map(|version| format!("{version}: stale GroupVersion discovery: {version}"))
                .collect();
            remains.discovery_error = Some(format!(
                "{} failing: unable to retrieve the complete list of server APIs: {}",
                failed.len(),
                failed.join(", ")
            ));
        }
        let (pods_first, rest) = plan::deletable(&served);
        for resource in pods_first {
            self.empty(resource, namespace, &mut remains).await;
            self.estimate(namespace, &mut remains).await;
        }
        // Nothing else is touched while pods run.
        if remains.objects.is_empty() && remains.errors.is_empty() {
            for resource in rest {
                self.empty(resource, namespace, &mut remains).await;
            }
        }
        remains
    }

    /// Deletes all objects of a resource and records what is left.
    async fn empty(&self, resource: &Discovered, namespace: &str, remains: &mut Remains) {
        if let Err(error) = self.try_empty(resource, namespace, remains).await {
            // A resource that lost its server between discovery and now is no content.
            if !matches!(&error, kube::Error::Api(status) if status.is_not_found() || status.code == 405) {
                remains.errors.push(format!("{}: {}", resource.group_resource(), pods::message(&error)));
            }
        }
    }

    async fn try_empty(
        &self,
        resource: &Discovered,
        namespace: &str,
        remains: &mut Remains,
    ) -> Result<(), kube::Error> {
        let api_resource = resource.api_resource();
        let api =
            Api::<PartialObjectMeta<DynamicObject>>::namespaced_with(self.client.clone(), namespace, &api_resource);
        let background = DeleteParams::background();
        let left = api.list(&ListParams::default()).await?;
        if left.items.is_empty() {
            return Ok(());
        }
        let raw = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, &api_resource);
        if resource.can("deletecollection") {
            raw.delete_collection(&background, &ListParams::default()).await?;
        } else {
            for object in &left.items {
                match raw.delete(&object.name_any(), &background).await {
                    Err(kube::Error::Api(status)) if status.is_not_found() => {}
                    result => drop(result?),
                }
            }
        }
        let left = api.list(&ListParams::default()).await?;
        if !left.items.is_empty() {
            remains.objects.insert(resource.group_resource(), left.items.len());
        }
        for finalizer in left.items.iter().flat_map(|object| object.finalizers()) {
            *remains.finalizers.entry(finalizer.clone()).or_default() += 1;
        }
        Ok(())
    }

    /// The longest grace period of the pods that are left.
    async fn estimate(&self, namespace: &str, remains: &mut Remains) {
        if !remains.objects.contains_key("pods") {
            return;
        }
        match Api::<Pod>::namespaced(self.client.clone(), namespace).list(&ListParams::default()).await {
            Ok(left) => {
                let grace = |pod: &Pod| pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds);
                remains.estimate = left.items.iter().filter_map(grace).max().unwrap_or_default();
            }
            Err(error) => remains.errors.push(format!("pods: {}", pods::message(&error))),
        }
    }

    async fn write_status(&self, namespace: &Namespace, status: NamespaceStatus) -> Result<Namespace, kube::Error> {
        let updated = Namespace { status: Some(status), ..namespace.clone() };
        Api::all(self.client.clone()).replace_status(&namespace.name_any(), &PostParams::default(), &updated).await
    }

    async fn finalize(&self, namespace: &Namespace) -> Result<(), kube::Error> {
        let finalized = plan::finalized(namespace);
        let api = Api::<Namespace>::all(self.client.clone());
        match api.replace_subresource("finalize", &namespace.name_any(), &PostParams::default(), &finalized).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            result => result.map(drop),
        }
    }
}
