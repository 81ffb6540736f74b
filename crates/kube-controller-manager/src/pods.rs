//! What the controllers of pods share: the pod informer's trimming and indexes, pods from templates, creating and deleting them with
//! upstream's events, claiming them.

use std::{future::Future, sync::Arc};

use api_types::k8s_openapi::{
    api::core::v1::{Container, Pod, PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use component_helpers::conditions;
use controller_runtime::{
    BoxError, Event, EventRecorder, Expectations, ObjectKey, SharedInformer, Store, WorkQueue,
    owner::{self, Claim},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};

/// Index of pods by node name.
pub(crate) const BY_NODE: &str = "node";
/// Index of pods by the uid of their controller; pods without one are under [`orphans_of`] their namespace.
pub(crate) const BY_CONTROLLER: &str = "controller";

/// Drops what no controller reads: it is most of a pod's size.
pub(crate) fn trim(pod: &mut Pod) {
    let Some(spec) = &mut pod.spec else { return };
    let init = spec.init_containers.iter_mut().flatten();
    for container in spec.containers.iter_mut().chain(init) {
        let Container { args, command, env, env_from, lifecycle, .. } = container;
        (*args, *command, *env, *env_from, *lifecycle) = (None, None, None, None, None);
        (container.liveness_probe, container.readiness_probe, container.startup_probe) = (None, None, None);
        (container.security_context, container.volume_mounts) = (None, None);
    }
}

/// The index value of pods without controller in a namespace.
pub(crate) fn orphans_of(namespace: &str) -> String {
    format!("orphan/{namespace}")
}

/// The index function behind [`BY_CONTROLLER`], for any kind of dependents.
pub(crate) fn by_controller<K: kube::Resource>(object: &K) -> Vec<String> {
    let meta = object.meta();
    match owner::controller_uid(meta) {
        Some(uid) => vec![uid.to_owned()],
        None => vec![orphans_of(meta.namespace.as_deref().unwrap_or_default())],
    }
}

fn by_node(pod: &Pod) -> Vec<String> {
    component_helpers::pods::node_name(pod).map(str::to_owned).into_iter().collect()
}

/// Adds the shared indexes to the pod informer.
pub(crate) fn indexed(pods: SharedInformer<Pod>) -> SharedInformer<Pod> {
    pods.index(BY_CONTROLLER, by_controller::<Pod>).index(BY_NODE, by_node)
}

/// The controlled objects and the orphans among which a controller's own are found.
pub(crate) fn candidates<K>(store: &Store<K>, controller: &ObjectMeta) -> Vec<Arc<K>> {
    let mut found = store.by_index(BY_CONTROLLER, controller.uid.as_deref().unwrap_or_default());
    found.extend(store.by_index(BY_CONTROLLER, &orphans_of(controller.namespace.as_deref().unwrap_or_default())));
    found
}

/// Takes over and lets go: returns the objects that are the controller's now. `still_there` reads the controller from the API server
/// before the first adoption: a controller that is being deleted must not adopt.
pub(crate) async fn claim<K, F>(
    api: &Api<K>,
    found: Vec<Arc<K>>,
    controller: &ObjectMeta,
    owner: OwnerReference,
    matches: impl Fn(&K) -> bool,
    still_there: F,
) -> Result<Vec<Arc<K>>, BoxError>
where
    K: controller_runtime::Object,
    F: Future<Output = Result<bool, kube::Error>>,
{
    let (mut own, mut adopt) = (Vec::new(), Vec::new());
    for object in found {
        match owner::claim(object.meta(), matches(&object), controller) {
            Claim::Keep => own.push(object),
            Claim::Adopt => adopt.push(object),
            Claim::Release => owner::release(api, object.meta(), &owner.uid).await?,
            Claim::Ignore => {}
        }
    }
    if !adopt.is_empty() {
        if !still_there.await? {
            return Err(format!("{} is being deleted or was replaced: it adopts nothing", owner.name).into());
        }
        for object in adopt {
            match owner::adopt(api, object.meta(), owner.clone()).await {
                Ok(adopted) => own.push(Arc::new(adopted)),
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    own.sort_by_key(|object| ObjectKey::of(object.as_ref()));
    Ok(own)
}

/// Whether the controller of this name still is the one with this uid and not being deleted, asked from the API server.
pub(crate) async fn still_there<K: controller_runtime::Object>(
    api: &Api<K>,
    known: &ObjectMeta,
) -> Result<bool, kube::Error> {
    let fresh = api.get_opt(known.name.as_deref().unwrap_or_default()).await?;
    Ok(fresh.is_some_and(|fresh| fresh.meta().uid == known.uid && fresh.meta().deletion_timestamp.is_none()))
}

/// A pod from a template, with a generated name after its controller's.
pub(crate) fn from_template(template: &PodTemplateSpec, controller: &OwnerReference, namespace: &str) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    let prefix = format!("{}-", controller.name);
    Pod {
        metadata: ObjectMeta {
            namespace: Some(namespace.to_owned()),
            generate_name: Some(prefix),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![controller.clone()]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// Creates and deletes pods for controllers, with events on the controller.
#[derive(Clone)]
pub(crate) struct PodControl {
    pub(crate) client: Client,
    pub(crate) recorder: EventRecorder,
}

impl PodControl {
    pub(crate) fn api(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Creates one pod. A namespace that is going away is an error without event.
    pub(crate) async fn create<K>(&self, parent: &K, pod: &Pod) -> Result<Pod, kube::Error>
    where
        K: kube::Resource<DynamicType = ()>,
    {
        let namespace = parent.meta().namespace.as_deref().unwrap_or_default();
        match self.api(namespace).create(&PostParams::default(), pod).await {
            Ok(created) => {
                self.recorder.normal(parent, "SuccessfulCreate", format!("Created pod: {}", created.name_any()));
                Ok(created)
            }
            Err(error) => {
                if !is_namespace_terminating(&error) {
                    self.recorder.warning(parent, "FailedCreate", format!("Error creating: {}", message(&error)));
                }
                Err(error)
            }
        }
    }

    /// Deletes one pod, if it still is the one known. Already gone is fine.
    pub(crate) async fn delete<K>(&self, parent: &K, pod: &Pod) -> Result<(), kube::Error>
    where
        K: kube::Resource<DynamicType = ()>,
    {
        let result = self.delete_quietly(pod).await;
        match &result {
            Ok(()) => self.recorder.normal(parent, "SuccessfulDelete", format!("Deleted pod: {}", pod.name_any())),
            Err(error) => {
                self.recorder.warning(parent, "FailedDelete", format!("Error deleting: {}", message(error)));
            }
        }
        result
    }

    /// The same without events.
    pub(crate) async fn delete_quietly(&self, pod: &Pod) -> Result<(), kube::Error> {
        let (namespace, name) = (pod.metadata.namespace.as_deref().unwrap_or_default(), pod.name_any());
        let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match self.api(namespace).delete(&name, &params).await {
            // Gone, or another pod has the name by now.
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
            result => result.map(drop),
        }
    }

    /// Creates pods in growing batches (1, 2, 4, ...), so that a quota that refuses all of them is asked few times. What was not
    /// created is taken back from the expectations.
    pub(crate) async fn create_batch<K>(
        &self,
        parent: &K,
        pods: &[Pod],
        expectations: &Expectations,
        key: &ObjectKey,
    ) -> Result<(), kube::Error>
    where
        K: kube::Resource<DynamicType = ()>,
    {
        let (mut done, mut batch) = (0, 1);
        while done < pods.len() {
            let slice = &pods[done..(done + batch).min(pods.len())];
            let results = futures::future::join_all(slice.iter().map(|pod| self.create(parent, pod))).await;
            done += slice.len();
            let mut failed = None;
            for error in results.into_iter().filter_map(Result::err) {
                expectations.creation_observed(key);
                failed = Some(error);
            }
            if let Some(error) = failed {
                for _ in done..pods.len() {
                    expectations.creation_observed(key);
                }
                return Err(error);
            }
            batch *= 2;
        }
        Ok(())
    }

    /// Deletes pods at once. What was not deleted is taken back from the expectations.
    pub(crate) async fn delete_batch<K>(
        &self,
        parent: &K,
        pods: &[Arc<Pod>],
        expectations: &Expectations,
        key: &ObjectKey,
    ) -> Result<(), kube::Error>
    where
        K: kube::Resource<DynamicType = ()>,
    {
        let results = futures::future::join_all(pods.iter().map(|pod| self.delete(parent, pod))).await;
        let mut failed = Ok(());
        for (pod, result) in pods.iter().zip(results) {
            if let Err(error) = result {
                expectations.deletion_observed(key, pod.metadata.uid.as_deref().unwrap_or_default());
                failed = Err(error);
            }
        }
        failed
    }
}

/// Whether a create failed because the namespace is being deleted: nothing to tell anybody about.
pub(crate) fn is_namespace_terminating(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// Deletes a pod that is to leave, saying why in its `DisruptionTarget` condition. Already gone is fine.
pub(crate) async fn disrupt(client: &Client, pod: &Pod, reason: &str, message: &str) -> Result<(), kube::Error> {
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    let api = Api::<Pod>::namespaced(client.clone(), &namespace);
    let mut all = pod.status.clone().unwrap_or_default().conditions;
    let condition = conditions::pod("DisruptionTarget", true, reason, message);
    conditions::set(&mut all, condition, component_base::clock::now());
    let patch = serde_json::json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": all}});
    match api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch)).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
        result => drop(result?),
    }
    let preconditions = Preconditions { uid: pod.uid(), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match api.delete(&name, &params).await {
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        result => result.map(drop),
    }
}

/// The API server's words, or the error's own.
pub(crate) fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => error.to_string(),
    }
}

/// The controller of a pod (or another dependent) as the key of a parent of the given kind.
pub(crate) fn parent_key(meta: &ObjectMeta, kind: &str) -> Option<(ObjectKey, String)> {
    let owner = owner::controller_of(meta).filter(|owner| owner.kind == kind)?;
    let namespace = meta.namespace.clone().unwrap_or_default();
    Some((ObjectKey::new(namespace, owner.name.clone()), owner.uid.clone()))
}

/// Restarts of all containers.
pub(crate) fn restarts(pod: &Pod) -> i32 {
    let status = pod.status.as_ref();
    let containers = status.and_then(|s| s.container_statuses.as_ref()).into_iter().flatten();
    containers.map(|c| c.restart_count).max().unwrap_or_default()
}

/// Queues each parent on its own changes; a deleted one's expectations end.
pub(crate) fn watch_parents<P: controller_runtime::Object>(
    parents: &SharedInformer<P>,
    queue: &WorkQueue<ObjectKey>,
    expectations: &Expectations,
) {
    let (queue, expectations) = (queue.clone(), expectations.clone());
    parents.on_event(move |event| {
        let key = ObjectKey::of(event.object().as_ref());
        if event.is_deleted() {
            expectations.remove(&key);
        }
        queue.add(key);
    });
}

/// Queues the parents that a pod's change concerns: its controller (also the one it had), and, for orphans, those that could adopt it.
/// Creations and deletions are reported to the expectations; the begin of a graceful deletion counts as deletion.
pub(crate) fn watch_pods<P>(
    pods: &SharedInformer<Pod>,
    parents: &Store<P>,
    kind: &'static str,
    queue: &WorkQueue<ObjectKey>,
    expectations: &Expectations,
    selects: fn(&P, &Pod) -> bool,
) where
    P: controller_runtime::Object,
{
    let watcher = PodWatcher { parents: parents.clone(), kind, selects };
    let (queue, expectations) = (queue.clone(), expectations.clone());
    pods.on_event(move |event| {
        let pod = event.object();
        let leaving = event.is_deleted() || pod.metadata.deletion_timestamp.is_some();
        let own = watcher.controller(pod);
        if let Some(key) = &own {
            match event {
                _ if leaving => expectations.deletion_observed(key, pod.metadata.uid.as_deref().unwrap_or_default()),
                Event::Added(_) => expectations.creation_observed(key),
                Event::Updated { .. } | Event::Deleted(_) => {}
            }
        }
        let before = event.old().and_then(|old| watcher.controller(old));
        let orphans = if own.is_none() && !leaving { watcher.adopters(event) } else { Vec::new() };
        own.into_iter().chain(before).chain(orphans).for_each(|key| queue.add(key));
    });
}

struct PodWatcher<P> {
    parents: Store<P>,
    kind: &'static str,
    selects: fn(&P, &Pod) -> bool,
}

impl<P: controller_runtime::Object> PodWatcher<P> {
    fn controller(&self, pod: &Pod) -> Option<ObjectKey> {
        let (key, uid) = parent_key(&pod.metadata, self.kind)?;
        let parent = self.parents.get(&key)?;
        (parent.meta().uid.as_deref() == Some(uid.as_str())).then_some(key)
    }

    /// The parents that select an orphan which is new, lost its controller, or has other labels.
    fn adopters(&self, event: &Event<Pod>) -> Vec<ObjectKey> {
        let pod = event.object();
        let same = |old: &Pod| {
            old.metadata.labels == pod.metadata.labels && old.metadata.owner_references == pod.metadata.owner_references
        };
        if owner::controller_of(&pod.metadata).is_some() || event.old().is_some_and(|old| same(old)) {
            return Vec::new();
        }
        let parents = self.parents.list_in(pod.metadata.namespace.as_deref().unwrap_or_default());
        parents.iter().filter(|p| (self.selects)(p, pod)).map(|p| ObjectKey::of(p.as_ref())).collect()
    }
}
