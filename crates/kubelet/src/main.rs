//! `kubelet`.

use anyhow::{Context, anyhow};
use component_base::{flags::Flags, kubeconfig, logging, shutdown};
use kubelet::host::LinuxHost;
use kubelet::options::{self, Startup};
use kubelet::runtime::CriRuntime;
use kubelet::{Config, certs};
use std::sync::Arc;

fn main() -> anyhow::Result<()> {
    let flags = Flags::parse_or_exit("kubelet", options::TABLE);
    logging::init(flags.int("v"));
    flags.warn_ignored();
    let (config, startup) = options::load(&flags)?;
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
    let client = tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        client = client(&config, &startup) => client?,
    };
    let cri = CriRuntime::new(&startup.runtime_endpoint, &startup.image_endpoint, startup.runtime_timeout);
    let host = LinuxHost::new().context("look at the machine")?;
    kubelet::run(config, client, Arc::new(cri.map_err(|why| anyhow!(why))?), Arc::new(host), shutdown).await
}

/// A client of the API server; none in standalone mode.
async fn client(config: &Config, startup: &Startup) -> anyhow::Result<Option<kube::Client>> {
    let Some(path) = &startup.kubeconfig else {
        tracing::info!("no kubeconfig: running standalone, with static pods only");
        return Ok(None);
    };
    if let Some(bootstrap) = &startup.bootstrap_kubeconfig {
        certs::bootstrap(path, bootstrap, &config.paths.certs, &config.node.name).await?;
    }
    let loaded = kubeconfig::load(path, "").await?;
    Ok(Some(kubeconfig::client(loaded, "kubelet")?))
}
