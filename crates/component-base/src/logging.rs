//! Logs on stderr. `--v` raises the level as upstream's does: 0-1 info, 2-4 debug of ours, 5+ trace; `RUST_LOG` overrides.

use tracing_subscriber::EnvFilter;

/// Installs the process's log subscriber. Call once, in `main`.
pub fn init(verbosity: i64) {
    let ours = match verbosity {
        ..=1 => "info",
        2..=4 => "debug",
        _ => "trace",
    };
    let default = if verbosity >= 8 {
        "trace".to_owned()
    } else {
        format!(
            "{ours},hyper=warn,h2=warn,tower=warn,rustls=warn,kube_client=warn,kube_client::client::builder=off,tonic=warn"
        )
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}
