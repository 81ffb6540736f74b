//! Keeps the cluster's processes running: what is wanted and does not run is started, what runs and is not wanted is ended.
//!
//! The wish is a file per process in `desired/`, so that `up`, `stop` and `start` need no protocol. A process that ends is started
//! again after a pause that doubles from one to ten seconds.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    cgroups,
    components::{Process, processes},
    spec::Cluster,
};

const TICK: Duration = Duration::from_millis(100);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A process that ran this long has recovered: its next pause is short again.
const STABLE_AFTER: Duration = Duration::from_secs(30);
/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(10);

/// Where the wish for `process` is recorded.
pub fn desired_file(cluster: &Cluster, process: &str) -> PathBuf {
    cluster.run_dir().join("desired").join(process)
}

/// Says that `process` should run.
pub fn want(cluster: &Cluster, process: &str) -> Result<()> {
    let file = desired_file(cluster, process);
    fs::create_dir_all(file.parent().context("desired directory")?)?;
    fs::write(&file, "").with_context(|| format!("write {}", file.display()))
}

/// Says that `process` should not run.
pub fn unwant(cluster: &Cluster, process: &str) -> Result<()> {
    match fs::remove_file(desired_file(cluster, process)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
        _ => Ok(()),
    }
}

pub fn pid_file(cluster: &Cluster, process: &str) -> PathBuf {
    cluster.run_dir().join("pids").join(process)
}

/// The pid of the cluster's supervisor, if it lives.
pub fn running(cluster: &Cluster) -> Option<Pid> {
    let pid = fs::read_to_string(pid_file(cluster, "supervisor")).ok()?.trim().parse().ok()?;
    let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
    command.contains("supervise").then_some(Pid::from_raw(pid))
}

/// The pid of `process`, if it runs.
pub fn pid_of(cluster: &Cluster, process: &str) -> Option<i32> {
    let pid = fs::read_to_string(pid_file(cluster, process)).ok()?.trim().parse().ok()?;
    resident_kib(pid).map(|_| pid)
}

/// Resident memory of a living process in KiB.
pub fn resident_kib(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// Starts the supervisor as a process of its own that outlives this one.
pub fn spawn(cluster: &Cluster) -> Result<()> {
    fs::create_dir_all(cluster.log_dir())?;
    let log = log_file(&cluster.log_dir().join("supervisor.log"))?;
    let program = std::env::current_exe().context("own executable")?;
    let child = std::process::Command::new("setsid")
        .arg(program)
        .args(["supervise", "--name", &cluster.name])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("start the supervisor")?;
    write_pid(cluster, "supervisor", child.id())
}

fn log_file(path: &Path) -> Result<fs::File> {
    fs::OpenOptions::new().create(true).append(true).open(path).with_context(|| format!("open {}", path.display()))
}

fn write_pid(cluster: &Cluster, name: &str, pid: u32) -> Result<()> {
    let file = pid_file(cluster, name);
    fs::create_dir_all(file.parent().context("pid directory")?)?;
    fs::write(&file, pid.to_string()).with_context(|| format!("write {}", file.display()))
}

/// Runs until `shutdown`, then ends all processes.
pub async fn run(cluster: Cluster, shutdown: CancellationToken) -> Result<()> {
    write_pid(&cluster, "supervisor", std::process::id())?;
    let mut slots: Vec<Slot> = processes(&cluster).into_iter().map(Slot::new).collect();
    for slot in &slots {
        end_leftover(&cluster, &slot.process.name);
    }
    while !shutdown.is_cancelled() {
        for slot in &mut slots {
            let wanted = desired_file(&cluster, &slot.process.name).exists();
            if let Err(error) = slot.tick(&cluster, wanted) {
                tracing::error!(process = slot.process.name, error = format!("{error:#}"), "cannot be started");
                slot.pause();
            }
        }
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            () = shutdown.cancelled() => {}
        }
    }
    // Dependants first: the API server goes after those that still want to say goodbye to it.
    for slot in slots.iter_mut().rev() {
        slot.end().await;
    }
    Ok(())
}

/// Kills `process` with SIGKILL, as a crash would.
pub fn kill_now(cluster: &Cluster, process: &str) -> Result<()> {
    let file = pid_file(cluster, process);
    let text = fs::read_to_string(&file).with_context(|| format!("{process} has not been started"))?;
    let pid = Pid::from_raw(text.trim().parse().with_context(|| format!("read {}", file.display()))?);
    kill(pid, Signal::SIGKILL).with_context(|| format!("kill {process} (pid {pid})"))
}

/// Ends what an earlier supervisor left running; its containers go on.
fn end_leftover(cluster: &Cluster, name: &str) {
    let Ok(text) = fs::read_to_string(pid_file(cluster, name)) else { return };
    let Ok(pid) = text.trim().parse::<i32>() else { return };
    if cgroups::pids(&cluster.cgroup()).contains(&pid) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// One process and its restarts.
struct Slot {
    process: Process,
    child: Option<Child>,
    started: Instant,
    next_pause: Duration,
    not_before: Instant,
    terminating_since: Option<Instant>,
}

impl Slot {
    fn new(process: Process) -> Self {
        let now = Instant::now();
        Slot { process, child: None, started: now, next_pause: FIRST_PAUSE, not_before: now, terminating_since: None }
    }

    fn tick(&mut self, cluster: &Cluster, wanted: bool) -> Result<()> {
        if let Some(child) = &mut self.child {
            match child.try_wait()? {
                Some(status) => self.ended(&status.to_string(), wanted),
                None if !wanted => self.terminate(),
                None => {}
            }
        } else if wanted && Instant::now() >= self.not_before {
            self.child = Some(start(cluster, &self.process)?);
            self.started = Instant::now();
        }
        Ok(())
    }

    fn ended(&mut self, status: &str, wanted: bool) {
        self.child = None;
        self.terminating_since = None;
        if wanted {
            tracing::warn!(process = self.process.name, status, "ended, starting it again");
            self.pause();
        } else {
            self.next_pause = FIRST_PAUSE;
            self.not_before = Instant::now();
        }
    }

    fn pause(&mut self) {
        if self.started.elapsed() > STABLE_AFTER {
            self.next_pause = FIRST_PAUSE;
        }
        self.not_before = Instant::now() + self.next_pause;
        self.next_pause = (self.next_pause * 2).min(LONGEST_PAUSE);
    }

    fn terminate(&mut self) {
        let Some(pid) = self.child.as_ref().and_then(Child::id) else { return };
        let signal = match self.terminating_since {
            None => Signal::SIGTERM,
            Some(since) if since.elapsed() > GRACE => Signal::SIGKILL,
            Some(_) => return,
        };
        self.terminating_since.get_or_insert_with(Instant::now);
        let _ = kill(Pid::from_raw(pid as i32), signal);
    }

    async fn end(&mut self) {
        self.terminate();
        let Some(child) = &mut self.child else { return };
        if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
    }
}

/// Starts a process in its network namespace and control group, with its log.
fn start(cluster: &Cluster, process: &Process) -> Result<Child> {
    let entry = cgroups::create(&process.cgroup)?;
    let log = log_file(&cluster.log_dir().join(format!("{}.log", process.name)))?;
    // The shell enters the group before the program starts, so that no child of the program can be outside.
    let script = format!("echo 0 > {}; exec \"$0\" \"$@\"", entry.display());
    let mut command = match &process.netns {
        Some(netns) => {
            let mut c = Command::new("nsenter");
            c.arg(format!("--net={}", netns.display())).arg("sh");
            c
        }
        None => Command::new("sh"),
    };
    command.args(["-c", &script]).args(&process.argv).env_clear().envs(environment());
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
    let child = command.spawn().with_context(|| format!("start {}", process.name))?;
    write_pid(cluster, &process.name, child.id().context("no pid")?)?;
    tracing::info!(process = process.name, pid = child.id(), "started");
    Ok(child)
}

/// Daemons see nothing of the caller's environment but the search path.
fn environment() -> BTreeMap<&'static str, String> {
    let path = std::env::var("PATH").unwrap_or_else(|_| String::new());
    BTreeMap::from([("PATH", format!("{path}:/usr/sbin:/sbin"))])
}
