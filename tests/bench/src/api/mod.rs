//! Loads an API server, ours or any other, and prints what each kind of request costs it: `bench api --server https://... --pid N`.
//!
//! The phases are those of upstream's measured baseline. CPU is that of the server's processes alone, so that the load generator
//! beside it does not blur the figure.

mod phases;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use http_body_util::BodyExt as _;
use tokio::{task::JoinSet, time::Instant};

use crate::{
    account::Processes,
    connection::{Connection, Target},
};
use phases::Phase;

/// What to load, and how much.
pub(crate) struct Wish {
    pub(crate) server: String,
    pub(crate) ca: PathBuf,
    pub(crate) token: String,
    pub(crate) pids: Vec<u32>,
    pub(crate) pods: usize,
    pub(crate) connections: usize,
    pub(crate) watchers: usize,
    pub(crate) informers: usize,
}

const FAN_OUT_CREATES: usize = 200;

pub(crate) fn run(wish: Wish) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(load(wish))
}

async fn load(wish: Wish) -> Result<()> {
    let bench = Bench {
        target: Target::new(&wish.server, &wish.ca, &wish.token)?,
        processes: Processes(wish.pids),
        pods: wish.pods,
        connections: wish.connections,
    };
    let mut first = bench.target.connect().await?;
    first.exchange(phases::namespace()).await?;
    // Where controllers run, they make it.
    let _ = first.exchange(phases::service_account()).await;
    println!(
        "{} pods, {} connections; RSS at start {:.0} MiB",
        wish.pods,
        wish.connections,
        bench.processes.resident_mib()?
    );
    println!(
        "{:28} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "phase", "requests", "per s", "p50 ms", "p99 ms", "CPU ms", "RSS MiB", "peak MiB"
    );
    for phase in phases::FILL_AND_READ {
        bench.phase(phase).await?;
    }
    if wish.informers > 0 {
        bench.informers(wish.informers).await?;
    }
    if wish.watchers > 0 {
        bench.fan_out(wish.watchers).await?;
    }
    for phase in phases::EMPTY {
        bench.phase(phase).await?;
    }
    Ok(())
}

struct Bench {
    target: Target,
    processes: Processes,
    pods: usize,
    connections: usize,
}

/// When a measurement began, and what had been used by then.
struct Mark {
    time: Instant,
    cpu: f64,
}

impl Bench {
    fn mark(&self) -> Result<Mark> {
        self.processes.forget_peak()?;
        Ok(Mark { time: Instant::now(), cpu: self.processes.cpu_seconds()? })
    }

    fn report(&self, name: &str, since: &Mark, mut times: Vec<Duration>, count: usize) -> Result<()> {
        let (elapsed, cpu) = (since.time.elapsed().as_secs_f64(), self.processes.cpu_seconds()? - since.cpu);
        times.sort_unstable();
        let quantile =
            |q: usize| times.get(times.len().saturating_sub(1) * q / 100).map_or(0.0, Duration::as_secs_f64) * 1e3;
        println!(
            "{name:28} {count:>9} {:>9.0} {:>9.2} {:>9.2} {:>9.4} {:>9.0} {:>9.0}",
            count as f64 / elapsed,
            quantile(50),
            quantile(99),
            cpu * 1e3 / count as f64,
            self.processes.resident_mib()?,
            self.processes.peak_mib()?,
        );
        Ok(())
    }

    /// Sends the phase's requests over all connections, each as soon as the one before it has its answer.
    async fn phase(&self, phase: &'static Phase) -> Result<()> {
        let count = (phase.requests)(self.pods);
        let next = Arc::new(AtomicUsize::new(0));
        let mut workers = JoinSet::new();
        let mut connections = Vec::new();
        for _ in 0..self.connections {
            connections.push(self.target.connect().await?);
        }
        let mark = self.mark()?;
        for connection in connections {
            workers.spawn(worker(connection, phase, next.clone(), count));
        }
        let mut times = Vec::with_capacity(count);
        while let Some(done) = workers.join_next().await {
            times.extend(done?.with_context(|| phase.name)?);
        }
        self.report(phase.name, &mark, times, count)
    }

    /// As many clients as asked list everything at the same moment, as informers do when a server comes back.
    async fn informers(&self, informers: usize) -> Result<()> {
        let mut connections = Vec::new();
        for _ in 0..informers {
            connections.push(self.target.connect().await?);
        }
        let mark = self.mark()?;
        let mut lists = JoinSet::new();
        for mut connection in connections {
            lists.spawn(async move {
                let began = Instant::now();
                connection.exchange(phases::list_as_informers_do()).await.map(|size| (began.elapsed(), size))
            });
        }
        let (mut times, mut bytes) = (Vec::new(), 0);
        while let Some(done) = lists.join_next().await {
            let (time, size) = done??;
            times.push(time);
            bytes = size;
        }
        self.report(&format!("{informers} informers at once"), &mark, times, informers)?;
        println!("{:28} {:.1} MiB in each answer", "", bytes as f64 / f64::from(1 << 20));
        Ok(())
    }

    /// Pods are created while many watch; the time is from sending the request to the arrival at each watcher.
    async fn fan_out(&self, watchers: usize) -> Result<()> {
        let mut writer = self.target.connect().await?;
        let page = writer.json(phases::newest()).await?;
        let revision = page["metadata"]["resourceVersion"].as_str().context("no revision in a list")?.to_owned();
        let mut watches = JoinSet::new();
        for _ in 0..watchers {
            let mut connection = self.target.connect().await?;
            let body = connection.send(phases::watch(&revision)).await?.into_body();
            watches.spawn(arrivals(connection, body, FAN_OUT_CREATES));
        }
        let mark = self.mark()?;
        let mut sent = Vec::with_capacity(FAN_OUT_CREATES);
        for n in 0..FAN_OUT_CREATES {
            sent.push(Instant::now());
            writer.exchange(phases::create(&format!("watched-{n:06}"), n)).await?;
        }
        let mut times = Vec::with_capacity(FAN_OUT_CREATES * watchers);
        while let Some(done) = watches.join_next().await {
            times.extend(done??.into_iter().zip(&sent).map(|(arrived, sent)| arrived.duration_since(*sent)));
        }
        let count = times.len();
        self.report("watch fan-out, per event", &mark, times, count)
    }
}

async fn worker(
    mut connection: Connection,
    phase: &'static Phase,
    next: Arc<AtomicUsize>,
    count: usize,
) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= count {
            return Ok(times);
        }
        let began = Instant::now();
        connection.exchange((phase.call)(n)).await?;
        times.push(began.elapsed());
    }
}

/// When each of the next `wanted` events arrived. The connection is kept for as long as that takes.
async fn arrivals(connection: Connection, mut body: hyper::body::Incoming, wanted: usize) -> Result<Vec<Instant>> {
    let mut times = Vec::with_capacity(wanted);
    while times.len() < wanted {
        let frame = body.frame().await.context("a watch ended early")??;
        let events = frame.data_ref().map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count());
        times.extend(std::iter::repeat_n(Instant::now(), events));
    }
    ensure!(times.len() == wanted, "a watch sent more events than there were");
    drop(connection);
    Ok(times)
}
