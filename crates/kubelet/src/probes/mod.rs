//! Probes: one task per container and kind of probe, results by container id.
//!
//! A result counts only for the container (by the runtime's id) it was found for. Liveness counts as good and readiness as bad
//! until the first result; a startup probe has no result until then, and holds the others back.

mod grpc;
mod http;
pub(crate) mod run;
mod worker;

use crate::events::Events;
use crate::pod::{self, PodExt};
use crate::pods::actions::ProbeResults;
use crate::runtime::Runtime;
use crate::status::generate::Readiness;
use crate::status::manager::StatusManager;
use api_types::k8s_openapi::api::core::v1::{Container, Pod, Probe};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Kinds of probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Restarts a container that fails it.
    Liveness,
    /// Takes a container that fails it out of service.
    Readiness,
    /// Holds the others back until it succeeds once.
    Startup,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Liveness, Kind::Readiness, Kind::Startup];

    fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Kind::Liveness => container.liveness_probe.as_ref(),
            Kind::Readiness => container.readiness_probe.as_ref(),
            Kind::Startup => container.startup_probe.as_ref(),
        }
    }

    fn title(self) -> &'static str {
        match self {
            Kind::Liveness => "Liveness",
            Kind::Readiness => "Readiness",
            Kind::Startup => "Startup",
        }
    }
}

/// Pod UID, container name, kind.
type Key = (String, String, Kind);

struct Handle {
    stop: CancellationToken,
    kick: Arc<Notify>,
}

/// All probes of the node.
pub(crate) struct Probes {
    runtime: Arc<dyn Runtime>,
    events: Events,
    statuses: Arc<StatusManager>,
    results: Mutex<BTreeMap<(Kind, String), bool>>,
    workers: Mutex<BTreeMap<Key, Handle>>,
    pokes: mpsc::UnboundedSender<String>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Probes {
    /// No probes yet. `pokes` gets the UID of a pod when a result changes.
    pub(crate) fn new(
        runtime: Arc<dyn Runtime>,
        events: Events,
        statuses: Arc<StatusManager>,
        pokes: mpsc::UnboundedSender<String>,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            runtime,
            events,
            statuses,
            results: Mutex::default(),
            workers: Mutex::default(),
            pokes,
            tasks,
            shutdown,
        })
    }

    /// Starts the probes of the pod that don't run yet.
    pub(crate) fn add(self: &Arc<Self>, pod: &Arc<Pod>) {
        let sidecars = pod.init().iter().filter(|container| pod::is_sidecar(container));
        for container in sidecars.chain(pod.main()) {
            for kind in Kind::ALL {
                if let Some(probe) = kind.of(container) {
                    self.start(pod, container, kind, probe);
                }
            }
        }
    }

    fn start(self: &Arc<Self>, pod: &Arc<Pod>, container: &Container, kind: Kind, probe: &Probe) {
        let key = (pod.pod_uid().to_owned(), container.name.clone(), kind);
        let mut workers = self.workers.lock();
        if workers.contains_key(&key) {
            return;
        }
        let (stop, kick) = (self.shutdown.child_token(), Arc::new(Notify::new()));
        workers.insert(key, Handle { stop: stop.clone(), kick: kick.clone() });
        let worker = worker::Worker::new(self.clone(), pod.clone(), container.clone(), kind, probe.clone());
        self.tasks.spawn(worker.run(kick, stop));
    }

    /// Probes look at the pod again: its status changed.
    pub(crate) fn kick(&self, uid: &str) {
        for (key, handle) in self.workers.lock().iter() {
            if key.0 == uid {
                handle.kick.notify_one();
            }
        }
    }

    /// A pod that is being stopped is not restarted: its liveness and startup probes end.
    pub(crate) fn stop_restarting(&self, uid: &str) {
        self.remove(uid, |kind| kind != Kind::Readiness);
    }

    /// Ends all probes of a pod.
    pub(crate) fn forget(&self, uid: &str) {
        self.remove(uid, |_| true);
    }

    fn remove(&self, uid: &str, which: impl Fn(Kind) -> bool) {
        self.workers.lock().retain(|(of, _, kind), handle| {
            let goes = of == uid && which(*kind);
            if goes {
                handle.stop.cancel();
            }
            !goes
        });
    }

    fn result(&self, kind: Kind, id: &str) -> Option<bool> {
        self.results.lock().get(&(kind, id.to_owned())).copied()
    }

    fn set(&self, kind: Kind, id: &str, uid: &str, result: bool) {
        let before = self.results.lock().insert((kind, id.to_owned()), result);
        if before != Some(result) {
            // The receiver ends with the kubelet only.
            let _ended = self.pokes.send(uid.to_owned());
        }
    }

    fn drop_result(&self, kind: Kind, id: &str) {
        self.results.lock().remove(&(kind, id.to_owned()));
    }
}

impl ProbeResults for Probes {
    fn liveness_failed(&self, id: &str) -> bool {
        self.result(Kind::Liveness, id) == Some(false)
    }

    fn startup(&self, id: &str) -> Option<bool> {
        self.result(Kind::Startup, id)
    }
}

impl Readiness for Probes {
    fn started(&self, id: &str, container: &Container) -> bool {
        container.startup_probe.is_none() || self.result(Kind::Startup, id) == Some(true)
    }

    fn ready(&self, id: &str, container: &Container) -> bool {
        container.readiness_probe.is_none() || self.result(Kind::Readiness, id) == Some(true)
    }
}
