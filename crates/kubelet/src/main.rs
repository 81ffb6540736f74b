//! `kubelet`.

use anyhow::{Context, anyhow};
use component_base::{flags::Flags, kubeconfig, logging, shutdown};
use kubelet::host::LinuxHost;
use kubelet::options::{self, Startup};
use kubelet::rotation::Rotating;
use kubelet::runtime::CriRuntime;
use kubelet::{Config, certs};
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    let flags = Flags::parse_or_exit("kubelet", options::TABLE);
    logging::init(flags.int("v"));
    flags.warn_ignored();
    shutdown::finish(start(&flags))
}

fn start(flags: &Flags) -> anyhow::Result<()> {
    let (config, startup) = options::load(flags)?;
    // Two threads are plenty for a client of two APIs; few blocking ones keep the memory small.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(serve(config, startup))
}

async fn serve(config: Config, startup: Startup) -> anyhow::Result<()> {
    kubeconfig::install_crypto_provider();
    let shutdown = shutdown::on_signal();
    let api = tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        api = connect(&config, &startup) => api?,
    };
    let cri = CriRuntime::new(&startup.runtime_endpoint, &startup.image_endpoint, startup.runtime_timeout);
    let cri = Arc::new(cri.map_err(|why| anyhow!(why))?);
    let host = Arc::new(LinuxHost::new().context("look at the machine")?);
    let (node, certs) = (config.node.name.clone(), config.paths.certs.clone());
    let kubelet = kubelet::run(config, api.as_ref().map(Rotating::client), cri, host, shutdown);
    match api.filter(|_| startup.rotate_certificates && startup.bootstrap_kubeconfig.is_some()) {
        Some(api) => tokio::select! {
            ended = kubelet => ended,
            expired = api.rotate(&node, &certs) => expired,
        },
        None => kubelet.await,
    }
}

/// The way to the API server; none in standalone mode.
async fn connect(config: &Config, startup: &Startup) -> anyhow::Result<Option<Rotating>> {
    let Some(path) = &startup.kubeconfig else {
        tracing::info!("no kubeconfig: running standalone, with static pods only");
        return Ok(None);
    };
    if let Some(bootstrap) = &startup.bootstrap_kubeconfig {
        certs::bootstrap(path, bootstrap, &config.paths.certs, &config.node.name).await?;
    }
    Ok(Some(Rotating::new(path).await?))
}
