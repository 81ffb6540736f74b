//! `cloud-controller-manager`.

use std::{process::ExitCode, sync::Arc};

use anyhow::Context;
use cloud_controller_manager::{local::Ip, options, run};
use component_base::{flags::Flags, kubeconfig, logging, shutdown};

fn main() -> ExitCode {
    let flags = Flags::parse_or_exit("cloud-controller-manager", options::TABLE);
    logging::init(flags.int("v"));
    flags.warn_ignored();
    shutdown::finish(start(&flags))
}

fn start(flags: &Flags) -> anyhow::Result<()> {
    let options = options::options(flags)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(async {
        let shutdown = shutdown::on_signal();
        let config = kubeconfig::load(&options.kubeconfig, &options.master).await?;
        let client = kubeconfig::client(config, "cloud-controller-manager")?;
        run(options, client, Arc::new(Ip), shutdown).await
    })
}
