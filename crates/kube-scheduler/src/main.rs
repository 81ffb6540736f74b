//! `kube-scheduler`.

use std::process::ExitCode;

use anyhow::Context;
use component_base::{flags::Flags, kubeconfig, logging, shutdown};
use kube_scheduler::{Process, options, run};

fn main() -> ExitCode {
    let flags = Flags::parse_or_exit("kube-scheduler", options::TABLE);
    logging::init(flags.int("v"));
    flags.warn_ignored();
    shutdown::finish(start(&flags))
}

fn start(flags: &Flags) -> anyhow::Result<()> {
    let options = options::options(flags)?;
    let process = Process::new(flags, options.leader)?;
    // One thread: a decision takes less than handing its results to another thread would.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(async {
        let shutdown = shutdown::on_signal();
        let config = kubeconfig::load(&options.kubeconfig, &options.master).await?;
        let client = kubeconfig::client(config, "kube-scheduler")?;
        run(options.scheduler, client, process, shutdown).await
    })
}
