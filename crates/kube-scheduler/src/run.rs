//! Wiring: informers into the loop, the binder behind it, leader election around it.

use std::sync::Arc;

use anyhow::Context;
use api_types::k8s_openapi::api::{
    apps::v1::{ReplicaSet, StatefulSet},
    core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController, Service},
    policy::v1::PodDisruptionBudget,
    resource::v1::{DeviceClass, ResourceClaim, ResourceSlice},
    storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment},
};
use component_base::{flags::Flags, health, rng, serving::SecurePort};
use controller_runtime::{
    Event, EventRecorder, EventSource, Informers, LeaderConfig, LeaderError, Object, ObjectKey, Selection,
    run_as_leader,
};
use kube::Client;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    binder::Binder,
    cache::catalog::{Catalog, Objects},
    config::Config,
    desk::Desk,
    options::LeaderOptions,
    scheduler::{Change, Scheduler},
};

/// What the process needs beside the configuration of decisions.
pub struct Process {
    /// Whether and how to elect a leader.
    pub leader: Option<LeaderOptions>,
    /// The port for health and metrics.
    pub port: Option<SecurePort>,
}

impl Process {
    /// As the flags say.
    ///
    /// # Errors
    /// Names the flag that cannot be used.
    pub fn new(flags: &Flags, leader: Option<LeaderOptions>) -> anyhow::Result<Self> {
        Ok(Process { leader, port: SecurePort::from_flags(flags, "kube-scheduler")? })
    }
}

/// Runs the scheduler until `shutdown`, or until it is not the leader any more.
///
/// # Errors
/// Where the configuration cannot be used, the port cannot be opened, or the lease is lost.
pub async fn run(config: Config, client: Client, process: Process, shutdown: CancellationToken) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    let desk = Desk::default();
    if let Some(port) = process.port {
        let pages = vec![("/debug/explain", desk.page())];
        port.serve(&client, health::Checks::with_ping(), pages, &tasks, shutdown.clone()).await?;
    }
    let result = match process.leader {
        None => lead(config, client, desk, shutdown.clone()).await,
        Some(options) => {
            let election = LeaderConfig {
                namespace: options.namespace,
                name: options.name,
                identity: format!("{}_{}", hostname()?, rng::uuid()),
                lease_duration: options.lease_duration,
                renew_deadline: options.renew_deadline,
                retry_period: options.retry_period,
            };
            let led = run_as_leader(client.clone(), election, shutdown.clone(), |leading| {
                lead(config, client, desk, leading)
            })
            .await;
            match led {
                Ok(result) => result.unwrap_or(Ok(())),
                Err(lost @ LeaderError::Lost { .. }) => Err(lost.into()),
            }
        }
    };
    shutdown.cancel();
    tasks.close();
    tasks.wait().await;
    result
}

fn hostname() -> anyhow::Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").context("read the host's name")?;
    Ok(name.trim().to_owned())
}

/// Schedules until `shutdown`.
async fn lead(config: Config, client: Client, desk: Desk, shutdown: CancellationToken) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    let (changes, inbox) = mpsc::unbounded_channel();
    let informers = Informers::new(client.clone(), tasks.clone(), shutdown.clone());
    watch(&informers, &changes);
    desk.open(changes.clone());
    let recorder = EventRecorder::new(client.clone(), EventSource::default(), &tasks, shutdown.clone());
    let binder = Binder::new(client, recorder, tasks.clone(), changes, config.extenders.clone());
    let scheduler = Scheduler::new(&config, binder).context("configuration")?;
    if informers.wait_for_sync().await {
        tracing::info!("scheduling");
        scheduler.run(inbox, shutdown.clone()).await;
    }
    shutdown.cancel();
    tasks.close();
    let drained = tokio::time::timeout(std::time::Duration::from_secs(5), tasks.wait()).await;
    if drained.is_err() {
        tracing::warn!("some writes were not finished at shutdown");
    }
    Ok(())
}

/// Feeds every kind that decisions read into the loop.
fn watch(informers: &Informers, changes: &mpsc::UnboundedSender<Change>) {
    let unfinished = Selection::default().fields("status.phase!=Succeeded,status.phase!=Failed");
    feed(&informers.informer_of::<Pod>(unfinished), changes, |event| Change::Pod(event.clone()));
    feed(&informers.informer::<Node>(), changes, |event| Change::Node(event.clone()));
    catalog::<Namespace>(informers, changes, "Namespace", |c| &mut c.namespaces);
    catalog::<Service>(informers, changes, "Service", |c| &mut c.services);
    catalog::<ReplicationController>(informers, changes, "ReplicationController", |c| &mut c.replication_controllers);
    catalog::<ReplicaSet>(informers, changes, "ReplicaSet", |c| &mut c.replica_sets);
    catalog::<StatefulSet>(informers, changes, "StatefulSet", |c| &mut c.stateful_sets);
    catalog::<PodDisruptionBudget>(informers, changes, "PodDisruptionBudget", |c| &mut c.disruption_budgets);
    catalog::<PersistentVolumeClaim>(informers, changes, "PersistentVolumeClaim", |c| &mut c.claims);
    catalog::<PersistentVolume>(informers, changes, "PersistentVolume", |c| &mut c.volumes);
    catalog::<StorageClass>(informers, changes, "StorageClass", |c| &mut c.storage_classes);
    catalog::<CSINode>(informers, changes, "CSINode", |c| &mut c.csi_nodes);
    catalog::<VolumeAttachment>(informers, changes, "VolumeAttachment", |c| &mut c.attachments);
    catalog::<CSIDriver>(informers, changes, "CSIDriver", |c| &mut c.csi_drivers);
    feed(&informers.informer::<ResourceClaim>(), changes, |event| Change::Claim(event.clone()));
    catalog::<DeviceClass>(informers, changes, "DeviceClass", |c| &mut c.device_classes);
    catalog::<ResourceSlice>(informers, changes, "ResourceSlice", |c| &mut c.resource_slices);
    catalog::<CSIStorageCapacity>(informers, changes, "CSIStorageCapacity", |c| &mut c.capacities);
}

fn feed<K: Object>(
    informer: &controller_runtime::SharedInformer<K>,
    changes: &mpsc::UnboundedSender<Change>,
    change: impl Fn(&Event<K>) -> Change + Send + Sync + 'static,
) {
    let changes = changes.clone();
    informer.on_event(move |event| {
        // The loop is gone only at shutdown.
        let _ = changes.send(change(event));
    });
}

fn catalog<K: Object + kube::Resource<DynamicType = ()>>(
    informers: &Informers,
    changes: &mpsc::UnboundedSender<Change>,
    kind: &'static str,
    place: fn(&mut Catalog) -> &mut Objects<K>,
) {
    feed(&informers.informer::<K>(), changes, move |event| {
        let event = event.clone();
        Change::Other(
            kind,
            Box::new(move |catalog| {
                let key = ObjectKey::of(event.object().as_ref()).to_string();
                match event {
                    Event::Deleted(_) => place(catalog).remove(&key),
                    Event::Added(object) | Event::Updated { new: object, .. } => {
                        place(catalog).insert(key, Arc::clone(&object))
                    }
                };
            }),
        )
    });
}
