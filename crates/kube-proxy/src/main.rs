//! `kube-proxy`.

use std::{process::ExitCode, sync::Arc};

use anyhow::{Context, bail};
use component_base::{flags::Flags, kubeconfig, logging, shutdown};
use kube_proxy::{
    clean_up,
    model::Family,
    options, run, set_up,
    sink::{Iptables, PacketFilter},
};

fn main() -> ExitCode {
    let flags = Flags::parse_or_exit("kube-proxy", options::TABLE);
    logging::init(flags.int("v"));
    flags.warn_ignored();
    shutdown::finish(start(&flags))
}

fn start(flags: &Flags) -> anyhow::Result<()> {
    let options = options::options(flags)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(async {
        let sinks = |family: Family| Arc::new(Iptables::new(family)) as Arc<dyn PacketFilter>;
        if options.clean_up {
            return clean_up(&sinks).await;
        }
        set_up(&options);
        if options.init_only {
            return Ok(());
        }
        let Some(path) = &options.kubeconfig else {
            bail!("no API server: give --kubeconfig, or clientConnection.kubeconfig in --config");
        };
        let shutdown = shutdown::on_signal();
        let config = kubeconfig::load(path, &options.master).await?;
        let client = kubeconfig::client(config, "kube-proxy")?;
        run(options, client, &sinks, shutdown).await
    })
}
