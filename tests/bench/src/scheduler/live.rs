//! The scheduler's binary against a running API server: everything is there when it starts, and the pods wait.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use http::Method;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use super::workloads::{NAMESPACE, Workload};
use crate::{
    account::Processes,
    connection::{Call, Connection, Target},
};

const CONNECTIONS: usize = 16;
/// A run that takes longer than this is given up.
const LIMIT: Duration = Duration::from_secs(300);
/// How often it is looked whether pods still wait.
const POLL: Duration = Duration::from_millis(50);
/// No CPU is used for so long: the events are written too.
const QUIET: Duration = Duration::from_secs(2);

/// What to run, and where.
pub(crate) struct Wish {
    pub(crate) server: String,
    pub(crate) ca: PathBuf,
    pub(crate) token: String,
    /// The binary and its kubeconfig.
    pub(crate) scheduler: PathBuf,
    pub(crate) kubeconfig: PathBuf,
    /// A port for its metrics, and where it puts its certificate.
    pub(crate) port: usize,
    pub(crate) cert_dir: PathBuf,
}

pub(super) fn head() {
    println!(
        "{:32} {:>9} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "workload", "pods/s", "CPU ms", "RSS MiB", "peak MiB", "p99 ms <=", "seconds"
    );
}

/// Runs the workload on an API server that is empty, and prints its line.
pub(super) fn measure(wish: &Wish, workload: &Workload, nodes: usize, pods: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(wish, workload, nodes, pods))
}

/// A process that is killed when the value goes.
struct Scheduler(Child);

impl Drop for Scheduler {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Wish {
    fn start(&self) -> Result<Scheduler> {
        let child = Command::new(&self.scheduler)
            .arg(format!("--kubeconfig={}", self.kubeconfig.display()))
            .args(["--leader-elect=false", "--kube-api-qps=5000", "--kube-api-burst=10000"])
            .args([format!("--secure-port={}", self.port), "--bind-address=127.0.0.1".to_owned()])
            .arg(format!("--cert-dir={}", self.cert_dir.display()))
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| self.scheduler.display().to_string())?;
        Ok(Scheduler(child))
    }
}

async fn run(wish: &Wish, workload: &Workload, nodes: usize, pods: usize) -> Result<()> {
    let target = Target::new(&wish.server, &wish.ca, &wish.token)?;
    let mut connection = target.connect().await?;
    connection
        .exchange(create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}))?)
        .await?;
    create_all(&target, workload.setting(nodes, pods)).await?;
    create_all(&target, (0..pods).map(|n| workload.pod(n, nodes))).await?;
    let (began, scheduler) = (Instant::now(), wish.start()?);
    let processes = Processes(vec![scheduler.0.id()]);
    while !is_done(&mut connection, workload).await? {
        ensure!(began.elapsed() < LIMIT, "{}: pods still wait after {LIMIT:?}", workload.name);
        tokio::time::sleep(POLL).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    let cpu = settled_cpu(&processes).await?;
    let count = pods as f64;
    println!(
        "{:32} {:>9.0} {:>10.3} {:>10.0} {:>10.0} {:>10} {:>10.2}",
        workload.name,
        count / seconds,
        cpu / count * 1e3,
        processes.resident_mib()?,
        processes.peak_mib()?,
        cycle_p99(wish).await?,
        seconds
    );
    Ok(())
}

/// Whether every measured pod has a node, or was told that there is none for it.
async fn is_done(connection: &mut Connection, workload: &Workload) -> Result<bool> {
    if !workload.fits {
        return is_told(connection).await;
    }
    let waiting = "labelSelector=app%3Dweb&fieldSelector=spec.nodeName%3D&limit=1";
    let list = connection.json(Call::get(format!("/api/v1/namespaces/{NAMESPACE}/pods?{waiting}"))).await?;
    Ok(list["items"].as_array().is_some_and(Vec::is_empty))
}

/// Whether every pod was told that it fits nowhere.
async fn is_told(connection: &mut Connection) -> Result<bool> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app%3Dweb");
    let list = connection.json(Call::get(path)).await?;
    let told = |pod: &Value| {
        pod["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(|c| c["reason"] == "Unschedulable"))
    };
    Ok(list["items"].as_array().is_some_and(|pods| pods.iter().all(told)))
}

/// What the process used by the time that it rests.
async fn settled_cpu(processes: &Processes) -> Result<f64> {
    let mut used = processes.cpu_seconds()?;
    loop {
        tokio::time::sleep(QUIET).await;
        let now = processes.cpu_seconds()?;
        if now - used < 0.02 {
            return Ok(now);
        }
        used = now;
    }
}

/// The 99th percentile of the time of an attempt: the bound of its bucket, in milliseconds.
async fn cycle_p99(wish: &Wish) -> Result<String> {
    let url = format!("https://127.0.0.1:{}", wish.port);
    let target = Target::new(&url, &wish.cert_dir.join("kube-scheduler.crt"), &wish.token)?;
    let text = target.connect().await?.text(Call::get("/metrics")).await?;
    let buckets = text.lines().filter(|l| l.starts_with("scheduler_scheduling_attempt_duration_seconds_bucket"));
    let mut counts: Vec<(f64, f64)> = Vec::new();
    for line in buckets {
        let bound =
            line.split("le=\"").nth(1).and_then(|rest| rest.split('"').next()).context("a bucket without a bound")?;
        let bound = bound.parse().unwrap_or(f64::INFINITY);
        let count: f64 = line.rsplit(' ').next().unwrap_or_default().parse()?;
        match counts.iter_mut().find(|(known, _)| *known == bound) {
            Some((_, sum)) => *sum += count,
            None => counts.push((bound, count)),
        }
    }
    counts.sort_by(|a, b| a.0.total_cmp(&b.0));
    let Some((_, all)) = counts.last().copied() else { bail!("no durations of attempts among the metrics") };
    let (bound, _) = counts.iter().find(|(_, count)| *count >= all * 0.99).copied().unwrap_or_default();
    Ok(format!("{:.1}", bound * 1e3))
}

/// Creates the objects over several connections; those of one kind in no order, but kinds one after another.
async fn create_all(target: &Target, objects: impl Iterator<Item = Value>) -> Result<()> {
    let mut kinds: Vec<(String, Vec<Call>)> = Vec::new();
    for object in objects {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        let call = create(object)?;
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, calls)) => calls.push(call),
            None => kinds.push((kind, vec![call])),
        }
    }
    for (_, calls) in kinds {
        let mut shares: Vec<Vec<Call>> = (0..CONNECTIONS).map(|_| Vec::new()).collect();
        calls.into_iter().enumerate().for_each(|(n, call)| shares[n % CONNECTIONS].push(call));
        let mut tasks = JoinSet::new();
        for share in shares.into_iter().filter(|share| !share.is_empty()) {
            let mut connection = target.connect().await?;
            tasks.spawn(async move {
                for call in share {
                    connection.exchange(call).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
    }
    Ok(())
}

fn create(object: Value) -> Result<Call> {
    let plural = match object["kind"].as_str().unwrap_or_default() {
        "Namespace" => "namespaces",
        "Node" => "nodes",
        "Pod" => "pods",
        "PersistentVolume" => "persistentvolumes",
        "PersistentVolumeClaim" => "persistentvolumeclaims",
        "DeviceClass" => "deviceclasses",
        "ResourceSlice" => "resourceslices",
        "ResourceClaim" => "resourceclaims",
        other => bail!("a workload has a {other}"),
    };
    let group = match object["apiVersion"].as_str() {
        Some("v1") | None => "/api/v1".to_owned(),
        Some(group) => format!("/apis/{group}"),
    };
    let path = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{group}/namespaces/{namespace}/{plural}"),
        None => format!("{group}/{plural}"),
    };
    Ok(Call { method: Method::POST, path, body: Some(("application/json", object.to_string().into_bytes())) })
}
