//! Real processes on loopback: `kube-apiserver`, `etcd`, and what becomes of their clients under kill -9.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use component_base::rng;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::{
    Recorder, Report,
    workload::{self, Plan},
};

const PLAN: Plan = Plan { writers: 4, watchers: 3, operations: 80, keys: 6, pause: Duration::from_millis(80) };
const FAULTS: usize = 4;
/// How long a process may take until it answers.
const START: Duration = Duration::from_secs(60);
const TOKEN: &str = "administrator";

/// A program that can be killed, stopped and started again.
pub struct Process {
    program: PathBuf,
    args: Vec<String>,
    log: PathBuf,
    child: Child,
}

/// What can be done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// As `kill -9`, and started again after a while.
    Kill,
    /// SIGSTOP, and SIGCONT after a while.
    Stop,
    /// SIGTERM, and started again when it has ended.
    Terminate,
}

impl Process {
    fn start(program: PathBuf, args: Vec<String>, log: PathBuf) -> Result<Self> {
        let child = spawn(&program, &args, &log)?;
        Ok(Self { program, args, log, child })
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).context("a process id")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("{signal} to {}", self.program.display()))
    }

    /// As `kill -9`.
    ///
    /// # Errors
    /// If the process can't be waited for.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().context("killing")?;
        self.child.wait().context("waiting")?;
        Ok(())
    }

    /// Whether it is no more.
    fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().context("asking for its end")?.is_some())
    }

    /// Starts it again after its end.
    ///
    /// # Errors
    /// If the program can't be started.
    pub fn restart(&mut self) -> Result<()> {
        self.child = spawn(&self.program, &self.args, &self.log)?;
        Ok(())
    }

    /// Does something bad to it, and lets it go on after `while_it_lasts`.
    ///
    /// # Errors
    /// If it can't be signalled, does not end, or can't be started.
    pub async fn suffer(&mut self, fault: Fault, while_it_lasts: Duration) -> Result<()> {
        match fault {
            Fault::Kill => {
                self.kill()?;
                tokio::time::sleep(while_it_lasts).await;
                self.restart()
            }
            Fault::Stop => {
                self.signal(Signal::SIGSTOP)?;
                tokio::time::sleep(while_it_lasts).await;
                self.signal(Signal::SIGCONT)
            }
            Fault::Terminate => {
                self.signal(Signal::SIGTERM)?;
                let ended = async {
                    while self.child.try_wait()?.is_none() {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    anyhow::Ok(())
                };
                tokio::time::timeout(START, ended).await.context("it does not end by SIGTERM")??;
                self.restart()
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("{}: {error:#}", self.program.display());
        }
    }
}

fn spawn(program: &Path, args: &[String], log: &Path) -> Result<Child> {
    let log = std::fs::File::options().create(true).append(true).open(log).context("a log file")?;
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| format!("starting {}", program.display()))
}

/// Our program of this name: beside this one, or beside the directory of tests.
///
/// # Errors
/// If it is not built.
pub fn program(name: &str) -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let places = exe.ancestors().skip(1).take(2).map(|dir| dir.join(name));
    places.into_iter().find(|path| path.is_file()).with_context(|| format!("{name} is not built"))
}

/// The machine's etcd; where there is none, that is said.
pub fn etcd_program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|dir| dir.join("etcd")).find(|file| file.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: there is no etcd in $PATH");
    }
    found
}

/// Ports that were free a moment ago.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let sockets: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<_>>()?;
    sockets.iter().map(|socket| Ok(socket.local_addr()?.port())).collect()
}

/// API servers over one store.
pub struct Cluster {
    /// One cluster of etcd; none where the API server has its own store.
    pub etcd: Vec<Process>,
    pub etcd_urls: Vec<String>,
    pub servers: Vec<Process>,
    pub clients: Vec<kube::Client>,
    ports: Vec<u16>,
    dir: TempDir,
}

impl Cluster {
    /// One server with its own store.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn embedded() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let store = format!("--data-dir={}", dir.path().join("data").display());
        Self::serve(dir, Vec::new(), Vec::new(), &store, 1).await
    }

    /// `servers` API servers on an etcd cluster of `members`.
    ///
    /// # Errors
    /// If something does not start.
    pub async fn on_etcd(program: &Path, members: usize, servers: usize) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let ports = free_ports(2 * members)?;
        let url = |port: &u16| format!("http://127.0.0.1:{port}");
        let (urls, peers) = ports.split_at(members);
        let (urls, peers): (Vec<_>, Vec<_>) = (urls.iter().map(url).collect(), peers.iter().map(url).collect());
        let all: Vec<_> = peers.iter().enumerate().map(|(n, peer)| format!("m{n}={peer}")).collect();
        let mut etcd = Vec::new();
        for (n, (client, peer)) in urls.iter().zip(&peers).enumerate() {
            let args = [
                format!("--name=m{n}"),
                format!("--data-dir={}", dir.path().join(format!("etcd-{n}")).display()),
                format!("--listen-client-urls={client}"),
                format!("--advertise-client-urls={client}"),
                format!("--listen-peer-urls={peer}"),
                format!("--initial-advertise-peer-urls={peer}"),
                format!("--initial-cluster={}", all.join(",")),
            ];
            etcd.push(Process::start(program.to_owned(), args.into(), dir.path().join(format!("etcd-{n}.log")))?);
        }
        let store = format!("--etcd-servers={}", urls.join(","));
        Self::serve(dir, etcd, urls, &store, servers).await
    }

    async fn serve(
        dir: TempDir,
        etcd: Vec<Process>,
        etcd_urls: Vec<String>,
        store: &str,
        count: usize,
    ) -> Result<Self> {
        component_base::kubeconfig::install_crypto_provider();
        let home = dir.path().to_owned();
        let path = |name: &str| home.join(name).display().to_string();
        std::fs::write(path("sa.key"), rcgen::KeyPair::generate()?.serialize_pem())?;
        std::fs::write(path("tokens"), format!("{TOKEN},admin,1,system:masters\n"))?;
        let ports = free_ports(count)?;
        let mut cluster = Self { etcd, etcd_urls, servers: Vec::new(), clients: Vec::new(), ports: ports.clone(), dir };
        for (n, port) in ports.iter().enumerate() {
            let args = [
                store.to_owned(),
                "--bind-address=127.0.0.1".to_owned(),
                "--advertise-address=127.0.0.1".to_owned(),
                format!("--secure-port={port}"),
                format!("--cert-dir={}", path("certs")),
                format!("--token-auth-file={}", path("tokens")),
                "--authorization-mode=Node,RBAC".to_owned(),
                "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
                "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
                format!("--service-account-key-file={}", path("sa.key")),
                format!("--service-account-signing-key-file={}", path("sa.key")),
            ];
            let log = home.join(format!("apiserver-{n}.log"));
            // The first one makes the certificate that all of them use.
            let certificate = home.join("certs").join("apiserver.crt");
            cluster.servers.push(Process::start(program("kube-apiserver")?, args.into(), log)?);
            wait_until("the server's certificate", || async { certificate.exists().then_some(()) })
                .await
                .with_context(|| cluster.logs())?;
            let client = wait_until("a client", || async { client(*port, &certificate).ok() }).await?;
            cluster.clients.push(client);
            cluster.wait_ready(n).await?;
        }
        Ok(cluster)
    }

    /// Which member of etcd leads.
    ///
    /// # Errors
    /// If none of them says so.
    pub async fn leader(&self) -> Result<usize> {
        let ask = || async {
            for (n, url) in self.etcd_urls.iter().enumerate() {
                let Ok(client) = etcd_client::Client::connect([url], None).await else { continue };
                let Ok(status) = client.maintenance_client().status().await else { continue };
                if status.header().is_some_and(|header| header.member_id() == status.leader()) {
                    return Some(n);
                }
            }
            None
        };
        wait_until("a leader of etcd", ask).await
    }

    /// Waits until this server is ready.
    ///
    /// # Errors
    /// If it does not become so.
    pub async fn wait_ready(&self, server: usize) -> Result<()> {
        let client = &self.clients[server];
        wait_until("readyz", || async {
            let request = http::Request::get("/readyz").body(Vec::new()).ok()?;
            tokio::time::timeout(Duration::from_secs(2), client.request_text(request)).await.ok()?.ok()
        })
        .await
        .map(drop)
        .with_context(|| self.logs())
    }

    /// What the processes said last.
    pub fn logs(&self) -> String {
        let processes = self.servers.iter().chain(&self.etcd);
        let tails = processes.map(|process| {
            let text = std::fs::read_to_string(&process.log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("{}:\n{}", process.log.display(), lines[lines.len().saturating_sub(15)..].join("\n"))
        });
        tails.collect::<Vec<_>>().join("\n")
    }

    /// Writes a kubeconfig for this server.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn kubeconfig(&self, server: usize) -> Result<PathBuf> {
        let path = self.dir.path().join(format!("kubeconfig-{server}"));
        let certificate = self.dir.path().join("certs").join("apiserver.crt");
        let text = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {
                "server": format!("https://127.0.0.1:{}", self.ports[server]), "certificate-authority": certificate}}],
            "users": [{"name": "c", "user": {"token": TOKEN}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        });
        std::fs::write(&path, text.to_string())?;
        Ok(path)
    }

    /// A program of ours that is a client of the cluster.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn component(&self, name: &str, log: &str, args: &[String]) -> Result<Process> {
        Process::start(program(name)?, args.to_vec(), self.dir.path().join(log))
    }
}

/// A client with the token, who trusts this certificate.
fn client(port: u16, certificate: &Path) -> Result<kube::Client> {
    use kube::config::{AuthInfo, Config};
    let mut config = Config::new(format!("https://127.0.0.1:{port}").parse()?);
    let parsed = component_base::tls::read_certificates(certificate)?;
    config.root_cert = Some(parsed.iter().map(|certificate| certificate.to_vec()).collect());
    config.auth_info = AuthInfo { token: Some(TOKEN.to_owned().into()), ..AuthInfo::default() };
    // A request that is sent twice would be two requests to the checker.
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    Ok(component_base::kubeconfig::client(config, "history")?)
}

/// Tries until there is a value.
///
/// # Errors
/// If there is none in time.
pub async fn wait_until<T, F: Future<Output = Option<T>>>(what: &str, mut condition: impl FnMut() -> F) -> Result<T> {
    let tried = async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(START, tried).await.with_context(|| format!("{what}: not within {START:?}"))
}

/// One run: a server on its own store, or on one etcd that suffers too.
///
/// # Errors
/// If something does not start, or does not work again after the faults.
pub fn run(seed: u64, etcd: Option<&Path>) -> Result<Report> {
    rng::seed_thread(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut cluster = match etcd {
            None => Cluster::embedded().await?,
            Some(program) => Cluster::on_etcd(program, 1, 1).await?,
        };
        let (clients, recorder, mut told) = (cluster.clients.clone(), Recorder::default(), Vec::new());
        let outcome = workload::run(&clients, PLAN, &recorder, suffer(&mut cluster, &mut told)).await;
        if let Err(error) = outcome {
            bail!("{error:#} after {told:?}\n{}", cluster.logs());
        }
        Ok(Report::of(&recorder, told))
    })
}

async fn suffer(cluster: &mut Cluster, told: &mut Vec<String>) -> Result<()> {
    for _ in 0..FAULTS {
        tokio::time::sleep(Duration::from_millis(rng::range(200..1500))).await;
        let fault = [Fault::Kill, Fault::Kill, Fault::Stop, Fault::Terminate][rng::range(0..4) as usize];
        let on_etcd = !cluster.etcd.is_empty() && rng::range(0..2) == 0;
        let (victim, name) = match on_etcd {
            true => (&mut cluster.etcd[0], "etcd"),
            false => (&mut cluster.servers[0], "kube-apiserver"),
        };
        told.push(format!("{fault:?} {name}"));
        victim.suffer(fault, Duration::from_millis(rng::range(0..2500))).await?;
    }
    // A server that lost its etcd while it started has ended; whoever supervises it starts it again.
    for server in &mut cluster.servers {
        if server.has_ended()? {
            server.restart()?;
        }
    }
    Ok(())
}
