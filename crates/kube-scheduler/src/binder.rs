//! The only writer: bindings, the conditions and events of pods that fit nowhere, the eviction of victims, and what volumes and resource claims need.

mod claims;

use std::{sync::Arc, time::Duration};

use api_types::k8s_openapi::api::{
    core::v1::{Binding, ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod},
    resource::v1::ResourceClaim,
};
use component_base::clock;
use component_helpers::conditions;
use controller_runtime::{EventRecorder, EventType, events};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::TaskTracker;

use crate::{
    cache::PodInfo,
    extender::Extenders,
    framework::{Assumed, Planned, Write},
    queue::Waiting,
    scheduler::Change,
};

/// Requests under way at once.
const AT_ONCE: usize = 64;
/// How long the answer to a binding may take: a connection may be dead without anybody saying so.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is asked what became of a binding whose answer was lost.
const DOUBT_POLL: Duration = Duration::from_secs(1);
const BINDING: &str = "binding rejected: running Bind plugin \"DefaultBinder\"";
const CLAIM_POLL: Duration = Duration::from_millis(500);

/// A pod on its way to a node.
pub(crate) struct Bind {
    pub(crate) waiting: Waiting,
    pub(crate) node: String,
    /// What comes before the binding.
    pub(crate) writes: Vec<Planned>,
    /// What other decisions see of the writes already.
    pub(crate) assumed: Vec<Assumed>,
}

/// How a binding ended.
pub(crate) struct Outcome {
    pub(crate) bind: Bind,
    pub(crate) error: Option<BindError>,
    /// The resource claims that were written, as the API server answered.
    pub(crate) claims: Vec<ResourceClaim>,
}

/// Why a pod was not bound.
pub(crate) struct BindError {
    pub(crate) message: String,
    /// The pod does not exist any more.
    pub(crate) is_gone: bool,
}

impl BindError {
    fn of_plugin(self, plugin: &str) -> Self {
        BindError { message: format!("running PreBind plugin {plugin:?}: {}", self.message), ..self }
    }
}

/// A failed attempt, as its user learns of it.
pub(crate) struct Failure {
    pub(crate) pod: Arc<PodInfo>,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// The node that the pod waits for; empty: none any more; absent: as before.
    pub(crate) nominate: Option<String>,
    pub(crate) victims: Vec<Arc<PodInfo>>,
    /// The claim whose devices are to be chosen anew.
    pub(crate) deallocate: Option<Arc<ResourceClaim>>,
}

impl Failure {
    /// A failure with nothing to say or do yet.
    pub(crate) fn new(pod: &Arc<PodInfo>, reason: &'static str) -> Self {
        let (pod, message) = (pod.clone(), String::new());
        Failure { pod, reason, message, nominate: None, victims: Vec::new(), deallocate: None }
    }
}

/// Where the loop's results go.
pub(crate) trait Writer: Send {
    /// Binds; the outcome comes back as a change.
    fn bind(&self, bind: Bind);
    /// Tells the user, and evicts the victims.
    fn fail(&self, failure: Failure);
    /// Tells that the pod is about to be bound to the node, where that takes a while.
    fn nominate(&self, pod: &Arc<PodInfo>, node: &str);
}

/// Writes through the API server, in tasks of its own.
#[derive(Clone)]
pub(crate) struct Binder {
    pub(crate) client: Client,
    pub(crate) recorder: EventRecorder,
    pub(crate) tasks: TaskTracker,
    pub(crate) outcomes: mpsc::UnboundedSender<Change>,
    pub(crate) room: Arc<Semaphore>,
    pub(crate) extenders: Arc<Extenders>,
}

impl Binder {
    pub(crate) fn new(
        client: Client,
        recorder: EventRecorder,
        tasks: TaskTracker,
        outcomes: mpsc::UnboundedSender<Change>,
        extenders: Arc<Extenders>,
    ) -> Self {
        Binder { client, recorder, tasks, outcomes, room: Arc::new(Semaphore::new(AT_ONCE)), extenders }
    }

    fn pods(&self, pod: &PodInfo) -> Api<Pod> {
        Api::namespaced(self.client.clone(), pod.namespace())
    }

    fn recorder_for(&self, pod: &PodInfo) -> EventRecorder {
        let name = pod.spec().and_then(|s| s.scheduler_name.as_deref()).filter(|n| !n.is_empty());
        self.recorder.with_component(name.unwrap_or("default-scheduler"))
    }

    async fn prepare_and_bind(&self, bind: &Bind, claims: &mut Vec<ResourceClaim>) -> Result<(), BindError> {
        let pod = &bind.waiting.pod;
        if !bind.writes.is_empty() {
            self.write_nomination(pod, &bind.node).await;
        }
        for Planned { plugin, write, .. } in &bind.writes {
            self.write(pod, write, claims).await.map_err(|error| error.of_plugin(plugin))?;
        }
        let mut written = claims.iter();
        for Planned { plugin, write, patience } in &bind.writes {
            let done = match write {
                Write::BindVolume { claim, .. } => self.wait_for_claim(claim, false, *patience).await,
                Write::SelectNode { claim, .. } => self.wait_for_claim(claim, true, *patience).await,
                Write::UseClaim { .. } | Write::MakeClaim { .. } => match written.next() {
                    Some(claim) => self.wait_for_devices(claim, *patience).await,
                    None => Ok(()),
                },
            };
            done.map_err(|error| error.of_plugin(plugin))?;
        }
        let by_extender = self.extenders.bind(pod, &bind.node).await;
        if by_extender.map_err(|message| BindError { message, is_gone: false })? {
            return Ok(());
        }
        self.bind_to(pod, &bind.node).await
    }

    /// Writes one thing that comes before the binding; resource claims are kept as the API server answered.
    async fn write(&self, pod: &PodInfo, write: &Write, claims: &mut Vec<ResourceClaim>) -> Result<(), BindError> {
        match write {
            Write::BindVolume { claim, volume } => self.bind_volume(claim, volume).await,
            Write::SelectNode { claim, node } => self.select_node(claim, node).await,
            Write::UseClaim { claim, allocation } => {
                claims.push(self.use_claim(pod, claim, allocation.as_deref()).await?);
                Ok(())
            }
            Write::MakeClaim { claim, allocation, mappings } => {
                claims.push(self.make_claim(pod, claim, allocation, mappings).await?);
                Ok(())
            }
        }
    }

    /// What DefaultBinder does.
    async fn bind_to(&self, pod: &PodInfo, node: &str) -> Result<(), BindError> {
        let permit = self.room.acquire().await;
        let target =
            ObjectReference { kind: Some("Node".to_owned()), name: Some(node.to_owned()), ..Default::default() };
        let mut binding = Binding { target, ..Default::default() };
        binding.metadata.name = pod.pod.metadata.name.clone();
        binding.metadata.namespace = pod.pod.metadata.namespace.clone();
        binding.metadata.uid = pod.pod.metadata.uid.clone();
        let body = serde_json::to_vec(&binding)
            .map_err(|error| BindError { message: format!("encode the binding: {error}"), is_gone: false })?;
        let request = kube::api::Request::new(<Pod as kube::Resource>::url_path(&(), Some(pod.namespace())))
            .create_subresource("binding", pod.name(), &PostParams::default(), body)
            .map_err(|error| BindError { message: format!("build the binding request: {error}"), is_gone: false })?;
        // On the heap, so that bindings that wait for their turn take little memory.
        let answer = Box::pin(tokio::time::timeout(ANSWER_TIMEOUT, self.client.request_text(request))).await;
        drop(permit);
        let doubt = match answer {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) if is_verdict(&error) => return Err(bind_error(BINDING, &error)),
            Ok(Err(error)) => bind_error(BINDING, &error),
            Err(_) => BindError { message: format!("{BINDING}: no answer within {ANSWER_TIMEOUT:?}"), is_gone: false },
        };
        if Box::pin(self.is_bound(pod, node)).await { Ok(()) } else { Err(doubt) }
    }

    /// Whether the pod is on the node after all. As long as that is not known its room is not given away.
    async fn is_bound(&self, pod: &PodInfo, node: &str) -> bool {
        loop {
            let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.pods(pod).get_opt(pod.name())).await;
            match answer {
                Ok(Ok(Some(found))) => {
                    let same = found.metadata.uid.as_deref() == Some(&*pod.uid);
                    return same && component_helpers::pods::node_name(&found) == Some(node);
                }
                Ok(Ok(None)) => return false,
                Ok(Err(error)) if is_verdict(&error) => return false,
                Ok(Err(_)) | Err(_) => tokio::time::sleep(DOUBT_POLL).await,
            }
        }
    }

    async fn bind_volume(&self, claim: &str, volume: &str) -> Result<(), BindError> {
        let (namespace, name) = claim.split_once('/').unwrap_or(("", claim));
        let failed = |error: kube::Error| bind_error("binding the volume", &error);
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        let uid = claims.get(name).await.map_err(failed)?.metadata.uid;
        let reference = json!({"kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": namespace, "name": name, "uid": uid});
        let patch = json!({
            "metadata": {"annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}},
            "spec": {"claimRef": reference},
        });
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        volumes.patch(volume, &PatchParams::default(), &Patch::Merge(&patch)).await.map(drop).map_err(failed)
    }

    async fn select_node(&self, claim: &str, node: &str) -> Result<(), BindError> {
        let (namespace, name) = claim.split_once('/').unwrap_or(("", claim));
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        let patch = json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": node}}});
        let patched = claims.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        patched.map(drop).map_err(|error| bind_error("asking for a volume", &error))
    }

    /// Waits until the claim is bound by the controller. A provisioner that cannot serve the node takes the node's name off the claim again.
    async fn wait_for_claim(&self, claim: &str, provisioned: bool, patience: Duration) -> Result<(), BindError> {
        let (namespace, name) = claim.split_once('/').unwrap_or(("", claim));
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        let poll = async {
            loop {
                let object = claims.get(name).await.map_err(|error| bind_error("waiting for the claim", &error))?;
                let annotations = object.metadata.annotations.unwrap_or_default();
                if annotations.contains_key("pv.kubernetes.io/bind-completed") {
                    return Ok(());
                }
                if provisioned && !annotations.contains_key("volume.kubernetes.io/selected-node") {
                    let message = format!("provisioning of claim {claim} failed on the selected node");
                    return Err(BindError { message, is_gone: false });
                }
                tokio::time::sleep(CLAIM_POLL).await;
            }
        };
        let timed_out =
            |_| BindError { message: format!("timed out waiting for claim {claim} to be bound"), is_gone: false };
        tokio::time::timeout(patience, poll).await.map_err(timed_out)?
    }

    async fn tell(&self, failure: Failure) {
        let pod = &failure.pod;
        let recorder = self.recorder_for(pod);
        recorder.event_with_action(
            events::reference(&*pod.pod),
            None,
            EventType::Warning,
            "FailedScheduling",
            "Scheduling",
            failure.message.clone(),
        );
        let _permit = self.room.acquire().await;
        for victim in &failure.victims {
            if let Err(error) = self.evict(pod, victim, failure.nominate.as_deref().unwrap_or_default()).await {
                tracing::warn!(victim = %victim.key, pod = %pod.key, %error, "could not evict a victim");
            }
        }
        if let Some(claim) = &failure.deallocate
            && let Err(error) = self.deallocate(claim).await
        {
            tracing::warn!(pod = %pod.key, error = %error.message, "could not free a claim's devices");
        }
        let Some(patch) = status_patch(&failure) else { return };
        let result = self.pods(pod).patch_status(pod.name(), &PatchParams::default(), &Patch::Strategic(&patch)).await;
        match result {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
            Err(error) => tracing::warn!(pod = %pod.key, %error, "could not write the pod's status"),
        }
    }

    /// Others (an autoscaler) read the pod's nominated node; that it could not be written is no reason not to bind.
    async fn write_nomination(&self, pod: &PodInfo, node: &str) {
        let known = pod.pod.status.as_ref().and_then(|s| s.nominated_node_name.as_deref());
        if known == Some(node) {
            return;
        }
        let patch = json!({"metadata": {"uid": &*pod.uid}, "status": {"nominatedNodeName": node}});
        let result = self.pods(pod).patch_status(pod.name(), &PatchParams::default(), &Patch::Strategic(&patch)).await;
        if let Err(error) = result {
            tracing::debug!(pod = %pod.key, %error, "could not write the nominated node");
        }
    }

    async fn evict(&self, pod: &PodInfo, victim: &PodInfo, node: &str) -> Result<(), kube::Error> {
        let scheduler =
            pod.spec().and_then(|s| s.scheduler_name.clone()).unwrap_or_else(|| "default-scheduler".to_owned());
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "lastTransitionTime": clock::now(),
            "message": format!("{scheduler}: preempting to accommodate a higher priority pod"),
        });
        let patch = json!({"metadata": {"uid": &*victim.uid}, "status": {"conditions": [condition]}});
        let pods = self.pods(victim);
        let gone = |error: kube::Error| match error {
            kube::Error::Api(status) if status.is_not_found() || status.is_conflict() => Ok(()),
            error => Err(error),
        };
        pods.patch_status(victim.name(), &PatchParams::default(), &Patch::Strategic(&patch))
            .await
            .map(drop)
            .or_else(gone)?;
        let preconditions = Some(Preconditions { uid: Some(victim.uid.to_string()), resource_version: None });
        let delete = DeleteParams { preconditions, ..DeleteParams::default() };
        pods.delete(victim.name(), &delete).await.map(drop).or_else(gone)?;
        self.recorder_for(pod).event_with_action(
            events::reference(&*victim.pod),
            Some(events::reference(&*pod.pod)),
            EventType::Normal,
            "Preempted",
            "Preempting",
            format!("Preempted by pod {} on node {node}", pod.uid),
        );
        Ok(())
    }
}

impl Writer for Binder {
    fn bind(&self, bind: Bind) {
        let binder = self.clone();
        self.tasks.spawn(async move {
            let mut claims = Vec::new();
            let error = binder.prepare_and_bind(&bind, &mut claims).await.err();
            if error.is_some() {
                binder.stop_using(&bind.waiting.pod, &claims).await;
            }
            if error.is_none() {
                let pod = &bind.waiting.pod;
                binder.recorder_for(pod).event_with_action(
                    events::reference(&*pod.pod),
                    None,
                    EventType::Normal,
                    "Scheduled",
                    "Binding",
                    format!("Successfully assigned {} to {}", pod.key, bind.node),
                );
            }
            // The loop is gone only at shutdown.
            let _ = binder.outcomes.send(Change::Bound(Box::new(Outcome { bind, error, claims })));
        });
    }

    fn fail(&self, failure: Failure) {
        let binder = self.clone();
        self.tasks.spawn(async move { binder.tell(failure).await });
    }

    fn nominate(&self, pod: &Arc<PodInfo>, node: &str) {
        let (binder, pod, node) = (self.clone(), pod.clone(), node.to_owned());
        self.tasks.spawn(async move { binder.write_nomination(&pod, &node).await });
    }
}

/// Whether the API server refused, so that nothing was written; else nobody knows.
fn is_verdict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code < 500 && status.code != 429)
}

fn bind_error(doing: &str, error: &kube::Error) -> BindError {
    let is_gone = matches!(error, kube::Error::Api(status) if status.is_not_found());
    BindError { message: format!("{doing}: {error}"), is_gone }
}

/// The change of the pod's status, where there is one.
fn status_patch(failure: &Failure) -> Option<serde_json::Value> {
    let status = failure.pod.pod.status.as_ref();
    let known = conditions::find(status.and_then(|s| s.conditions.as_ref()), "PodScheduled");
    let same = known.is_some_and(|c| {
        c.status == "False"
            && c.reason.as_deref() == Some(failure.reason)
            && c.message.as_deref() == Some(&failure.message)
    });
    let nominated = status.and_then(|s| s.nominated_node_name.as_deref()).unwrap_or_default();
    let nominate = failure.nominate.as_deref().filter(|node| *node != nominated);
    if same && nominate.is_none() {
        return None;
    }
    let now = clock::now().to_string();
    let since =
        known.filter(|c| c.status == "False").and_then(|c| c.last_transition_time.as_ref()).map(|t| t.0.to_string());
    let mut changed = json!({"conditions": [{
        "type": "PodScheduled", "status": "False", "reason": failure.reason, "message": failure.message,
        "lastProbeTime": null, "lastTransitionTime": since.unwrap_or(now),
        "observedGeneration": failure.pod.pod.metadata.generation,
    }]});
    if let Some(node) = nominate {
        changed["nominatedNodeName"] = if node.is_empty() { serde_json::Value::Null } else { json!(node) };
    }
    Some(json!({"metadata": {"uid": &*failure.pod.uid}, "status": changed}))
}
