//! kube-apiserver

use component_base::flags::Flags;
use kube_apiserver::{config::Config, options, run};

/// Serving objects is mostly making and dropping many small values.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let flags = Flags::parse_or_exit("kube-apiserver", options::FLAGS);
    component_base::logging::init(flags.int("v"));
    flags.warn_ignored();
    let outcome = Config::from_flags(&flags).and_then(|config| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async { run::run(config, component_base::shutdown::on_signal()).await })
    });
    if let Err(error) = outcome {
        eprintln!("Error: {error:#}");
        std::process::exit(1);
    }
}
