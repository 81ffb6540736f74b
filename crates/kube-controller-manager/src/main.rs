//! `kube-controller-manager`.

use std::process::ExitCode;

use anyhow::Context as _;
use kube_controller_manager::{Clients, options, run};

fn main() -> ExitCode {
    component_base::shutdown::finish(start())
}

fn start() -> anyhow::Result<()> {
    let flags = options::parse();
    component_base::logging::init(flags.int("v"));
    flags.warn_ignored();
    let config = options::config(&flags)?;
    // One thread: the work is waiting for the API server, and each further thread costs memory.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(async move {
        let shutdown = component_base::shutdown::on_signal();
        let clients = Clients::from_kubeconfig(&config).await?;
        run(config, clients, shutdown).await
    })
}
