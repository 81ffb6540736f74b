//! `keelson`: Kubernetes clusters on one machine. Every node is a network namespace with its own containerd, kubelet and
//! kube-proxy; the control plane runs as processes.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Error, Result, bail};
use clap::{Args, Parser, Subcommand};
use keelson::{cgroups, components, down, images, snapshot, spec::Cluster, state, supervisor, up};

#[derive(Parser)]
#[command(name = "keelson", about = "Kubernetes clusters on one machine", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create a cluster, or complete one that exists
    Up(UpArgs),
    /// Remove a cluster and all it has on this machine
    Down(Name),
    /// List the clusters and their processes
    Status,
    /// Print the path of the administrator's kubeconfig
    Kubeconfig(Name),
    /// Load an image archive (OCI or docker save) into every node
    Load {
        #[command(flatten)]
        name: Name,
        archive: PathBuf,
    },
    /// Kill (SIGKILL) a process or a whole node, containers included, and keep it down
    Stop(Target),
    /// Let a stopped process or node run again
    Start(Target),
    /// Save all that a cluster's embedded store holds while it runs, or make a new store of that
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// Keep the cluster's processes running (started by `up`)
    #[command(hide = true)]
    Supervise(Name),
}

#[derive(Args)]
struct Name {
    /// Name of the cluster
    #[arg(long, default_value = "keelson")]
    name: String,
}

#[derive(Args)]
struct UpArgs {
    #[command(flatten)]
    name: Name,
    /// Number of worker nodes
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Keep the state in etcd rather than in the API server's own store
    #[arg(long)]
    etcd: bool,
    /// Directory with the binaries (default: where this program is)
    #[arg(long)]
    bin_dir: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Snapshot {
    /// Write the state of a running cluster to a file (it has every secret)
    Save {
        #[command(flatten)]
        name: Name,
        /// How to reach the API server (default: the administrator's of the cluster)
        #[arg(long)]
        kubeconfig: Option<PathBuf>,
        file: PathBuf,
    },
    /// Make an empty or new directory the `--data-dir` of an API server with that state
    Restore {
        #[arg(long)]
        data_dir: PathBuf,
        file: PathBuf,
    },
}

#[derive(Args)]
struct Target {
    #[command(flatten)]
    name: Name,
    /// A process (`kube-scheduler`, `kubelet.NODE`) or a node
    target: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    component_base::logging::init(0);
    match run(cli.command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keelson: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Status => status(),
        Command::Kubeconfig(name) => {
            println!("{}", state::find(&name.name)?.admin_kubeconfig().display());
            Ok(())
        }
        Command::Snapshot(command) => snapshot_command(command).await,
        _ if !nix::unistd::geteuid().is_root() => bail!("network namespaces and containers need root: use sudo"),
        Command::Up(args) => up_command(args).await,
        Command::Down(name) => down::down(&state::find(&name.name)?).await,
        Command::Load { name, archive } => load(&state::find(&name.name)?, &archive).await,
        Command::Stop(target) => stop(&state::find(&target.name.name)?, &target.target).await,
        Command::Start(target) => start(&state::find(&target.name.name)?, &target.target),
        Command::Supervise(name) => {
            supervisor::run(state::find(&name.name)?, component_base::shutdown::on_signal()).await
        }
    }
}

async fn up_command(args: UpArgs) -> Result<()> {
    let own = std::env::current_exe()?;
    let bin_dir = match args.bin_dir {
        Some(dir) => dir.canonicalize().with_context(|| dir.display().to_string())?,
        None => own.parent().context("own directory")?.to_owned(),
    };
    let wish = up::Wish { name: args.name.name, workers: args.workers, etcd: args.etcd, bin_dir };
    let cluster = up::up(wish).await?;
    println!("\nThe cluster is ready:\n  export KUBECONFIG={}", cluster.admin_kubeconfig().display());
    Ok(())
}

async fn snapshot_command(command: Snapshot) -> Result<()> {
    let (done, summary) = match command {
        Snapshot::Save { name, kubeconfig, file } => {
            let kubeconfig =
                kubeconfig.map_or_else(|| Ok(state::find(&name.name)?.admin_kubeconfig()), Ok::<_, Error>)?;
            let config = component_base::kubeconfig::load(&kubeconfig, "").await?;
            let client = component_base::kubeconfig::client(config, "keelson")?;
            (format!("saved {}", file.display()), snapshot::save(&client, &file).await?)
        }
        Snapshot::Restore { data_dir, file } => {
            (format!("restored {}", data_dir.display()), storage::snapshot::restore(&file, &data_dir)?)
        }
    };
    println!("{done}: revision {}, {} objects, {} bytes", summary.revision, summary.objects, summary.data);
    Ok(())
}

fn status() -> Result<()> {
    for cluster in state::clusters()? {
        println!("{} ({} nodes, {})", cluster.name, cluster.nodes().len(), cluster.server_url());
        println!("  {:<40} {:<8} {:>8} {:>10}", "PROCESS", "STATE", "PID", "RSS MiB");
        for process in components::processes(&cluster) {
            let wanted = supervisor::desired_file(&cluster, &process.name).exists();
            let pid = supervisor::pid_of(&cluster, &process.name);
            let state = match (wanted, pid) {
                (true, Some(_)) => "running",
                (true, None) => "failing",
                (false, _) => "stopped",
            };
            let memory = pid.and_then(supervisor::resident_kib).map(|kib| format!("{:.1}", kib as f64 / 1024.0));
            let pid = pid.map(|p| p.to_string());
            let shown = |v: Option<String>| v.unwrap_or_else(|| "-".into());
            println!("  {:<40} {state:<8} {:>8} {:>10}", process.name, shown(pid), shown(memory));
        }
    }
    Ok(())
}

async fn load(cluster: &Cluster, archive: &std::path::Path) -> Result<()> {
    for image in images::read_archive(archive)? {
        for node in cluster.nodes() {
            images::import(&cluster.containerd_socket(&node), &image).await?;
        }
        println!("loaded {}", image.names.join(", "));
    }
    Ok(())
}

async fn stop(cluster: &Cluster, target: &str) -> Result<()> {
    if let Some(node) = cluster.node(target) {
        for process in components::processes_of_node(cluster, &node) {
            supervisor::unwant(cluster, &process.name)?;
        }
        return cgroups::kill_all(&cluster.node_cgroup(&node)).await;
    }
    named(cluster, target)?;
    supervisor::unwant(cluster, target)?;
    supervisor::kill_now(cluster, target)
}

fn start(cluster: &Cluster, target: &str) -> Result<()> {
    match cluster.node(target) {
        Some(node) => {
            components::processes_of_node(cluster, &node).iter().try_for_each(|p| supervisor::want(cluster, &p.name))
        }
        None => {
            named(cluster, target)?;
            supervisor::want(cluster, target)
        }
    }
}

fn named(cluster: &Cluster, process: &str) -> Result<()> {
    let all: Vec<String> = components::processes(cluster).into_iter().map(|p| p.name).collect();
    if all.iter().any(|n| n == process) {
        return Ok(());
    }
    bail!("{process:?} is neither a node nor a process of the cluster; processes: {}", all.join(", "))
}
