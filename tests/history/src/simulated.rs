//! One run in one thread, on a paused clock: what happens follows from the seed.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use component_base::{flags::Flags, rng};
use kube_apiserver::run::ApiServer;
use storage::{Revision, Store, embedded::Embedded};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    Recorder, Report,
    disk::ForgetfulDisk,
    line::Line,
    unsteady::{Unsteady, Weather},
    workload::{self, Plan},
};

const PLAN: Plan = Plan { writers: 4, watchers: 3, operations: 60, keys: 6, pause: Duration::from_millis(400) };
/// No run takes longer than this, in its own time.
const LIFE: Duration = Duration::from_secs(600);
/// How many things go wrong in one run.
const FAULTS: usize = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Server and store die at once; of the disk only what was synced is sure to be there.
    Kill,
    /// Syncing fails from now on, and after a while the machine is started again.
    DiskFails,
    /// Syncing fails for a while.
    DiskHiccup,
    /// The store is closed and opened again, with its server.
    CloseStore,
    /// The server ends in order and is started anew on the same store.
    RestartServer,
    /// The store answers nothing for a while.
    Pause,
    /// The store is out of reach for a while.
    CutOff,
    /// Connections of clients break.
    CutClients,
    /// History is forgotten, all of it or some.
    Compact,
}

const ALL: [Fault; 9] = [
    Fault::Kill,
    Fault::DiskFails,
    Fault::DiskHiccup,
    Fault::CloseStore,
    Fault::RestartServer,
    Fault::Pause,
    Fault::CutOff,
    Fault::CutClients,
    Fault::Compact,
];

/// The run of a seed.
///
/// # Errors
/// If the server can't be started, or something does not work again after the faults.
pub fn run(seed: u64) -> Result<Report> {
    run_on(seed, ForgetfulDisk::default())
}

/// The run of a seed on a disk of the caller's.
///
/// # Errors
/// As of [`run`].
pub fn run_on(seed: u64, disk: ForgetfulDisk) -> Result<Report> {
    testkit::simulate(seed, move || async move {
        let mut world = World::start(disk).await?;
        let recorder = Recorder::default();
        let servers = [world.line.client()];
        let mut faults = Vec::new();
        let working = workload::run(&servers, PLAN, &recorder, world.suffer(&mut faults));
        tokio::time::timeout(LIFE, working).await.context("the run does not end")??;
        Ok(Report::of(&recorder, faults))
    })
}

/// What can break.
struct World {
    line: Line,
    weather: watch::Sender<Weather>,
    disk: ForgetfulDisk,
    store: Option<Arc<Embedded>>,
    server: Option<(ApiServer, CancellationToken)>,
    config: kube_apiserver::config::Config,
    _files: tempfile::TempDir,
}

impl World {
    async fn start(disk: ForgetfulDisk) -> Result<Self> {
        let files = tempfile::tempdir()?;
        let config = config(files.path())?;
        let mut world = Self {
            line: Line::default(),
            weather: watch::Sender::new(Weather::Fine),
            disk,
            store: None,
            server: None,
            config,
            _files: files,
        };
        world.open()?;
        world.serve().await?;
        Ok(world)
    }

    fn open(&mut self) -> Result<()> {
        self.store = Some(Arc::new(Embedded::open_disk(self.disk.clone()).context("opening the store")?));
        Ok(())
    }

    async fn serve(&mut self) -> Result<()> {
        let store: Arc<dyn Store> = self.store.clone().context("no store is open")?;
        let store = Arc::new(Unsteady::new(store, self.weather.subscribe()));
        let shutdown = CancellationToken::new();
        let server = kube_apiserver::run::build(&self.config, store, shutdown.clone()).await?;
        self.line.connect(server.server.clone());
        self.server = Some((server, shutdown));
        Ok(())
    }

    /// The server is gone; in order means that what it works on may end.
    async fn stop_server(&mut self, in_order: bool) {
        let Some((server, shutdown)) = self.server.take() else { return };
        if in_order {
            server.server.core.health.leave();
            server.server.core.health.stop();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        self.line.kill();
        shutdown.cancel();
        server.tasks.close();
        server.tasks.wait().await;
    }

    async fn suffer(&mut self, told: &mut Vec<String>) -> Result<()> {
        for _ in 0..FAULTS {
            tokio::time::sleep(Duration::from_millis(rng::range(200..4000))).await;
            let fault = ALL[rng::range(0..ALL.len() as u64) as usize];
            told.push(format!("{fault:?}"));
            self.inflict(fault).await.with_context(|| format!("after {told:?}"))?;
        }
        Ok(())
    }

    async fn inflict(&mut self, fault: Fault) -> Result<()> {
        let while_it_lasts = Duration::from_millis(rng::range(10..15_000));
        match fault {
            Fault::Kill | Fault::DiskFails => {
                if fault == Fault::DiskFails {
                    self.disk.break_down();
                    tokio::time::sleep(while_it_lasts).await;
                }
                self.disk = self.disk.crash();
                self.stop_server(false).await;
                self.store = None;
                tokio::time::sleep(while_it_lasts / 10).await;
                self.open()?;
                self.serve().await?;
            }
            Fault::DiskHiccup => {
                self.disk.break_down();
                tokio::time::sleep(while_it_lasts).await;
                self.disk.repair();
            }
            Fault::CloseStore => {
                self.stop_server(true).await;
                self.store = None;
                // The last of its tasks lets go of it.
                tokio::time::sleep(Duration::from_millis(100)).await;
                self.open()?;
                self.serve().await?;
            }
            Fault::RestartServer => {
                self.stop_server(true).await;
                self.serve().await?;
            }
            Fault::Pause | Fault::CutOff => {
                self.weather.send_replace(if fault == Fault::Pause { Weather::Paused } else { Weather::CutOff });
                tokio::time::sleep(while_it_lasts).await;
                self.weather.send_replace(Weather::Fine);
            }
            Fault::CutClients => self.line.cut(),
            Fault::Compact => {
                let store = self.store.as_ref().context("no store is open")?;
                let newest = store.revision().await?.0;
                store.compact(Revision(newest - rng::range(0..newest.min(100)))).await?;
            }
        }
        Ok(())
    }
}

/// Of an API server that needs nothing but a directory for its key.
///
/// # Errors
/// If the key can't be written.
pub fn config(dir: &Path) -> Result<kube_apiserver::config::Config> {
    let key_file = dir.join("sa.key");
    std::fs::write(&key_file, rcgen::KeyPair::generate()?.serialize_pem())?;
    let key = key_file.display();
    let args = [
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        format!("--service-account-key-file={key}"),
        format!("--service-account-signing-key-file={key}"),
    ];
    kube_apiserver::config::Config::from_flags(&Flags::parse("kube-apiserver", kube_apiserver::options::FLAGS, args)?)
}
