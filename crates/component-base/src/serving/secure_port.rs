//! The HTTPS port that upstream's control-plane daemons offer for health checks and metrics, as the common flags describe it.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Guard, HealthPort, PageFn, serve};
use crate::{flags::Flags, health::Checks, tls};

/// The port, its certificate, and who may read.
pub struct SecurePort {
    component: &'static str,
    address: SocketAddr,
    pair: Option<(PathBuf, PathBuf)>,
    cert_dir: Option<PathBuf>,
    client_ca: Option<PathBuf>,
    always_allow: Vec<String>,
}

impl SecurePort {
    /// As `--bind-address`, `--secure-port`, `--tls-*`, `--cert-dir`, `--client-ca-file` and `--authorization-always-allow-paths` say; none
    /// where the port is 0.
    pub fn from_flags(flags: &Flags, component: &'static str) -> anyhow::Result<Option<Self>> {
        let path = |flag: &str| flags.opt(flag).map(PathBuf::from);
        let port = u16::try_from(flags.int("secure-port")).context("--secure-port: no port number")?;
        if port == 0 {
            return Ok(None);
        }
        let address = flags.get("bind-address").parse().context("--bind-address")?;
        Ok(Some(SecurePort {
            component,
            address: SocketAddr::new(address, port),
            pair: path("tls-cert-file").zip(path("tls-private-key-file")),
            cert_dir: path("cert-dir"),
            client_ca: path("client-ca-file"),
            always_allow: flags.list("authorization-always-allow-paths"),
        }))
    }

    /// Opens the port and serves it in a task of `tasks` until `shutdown`.
    pub async fn serve(
        self,
        client: &kube::Client,
        checks: Checks,
        extra: Vec<(&'static str, PageFn)>,
        tasks: &TaskTracker,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.address).await.with_context(|| format!("listen on {}", self.address))?;
        let (cert, key) = match &self.pair {
            Some(pair) => pair.clone(),
            None => self.self_signed()?,
        };
        let tls = tls::server_config(&cert, &key, self.client_ca.as_deref().into())?;
        let guard = Guard::new(client.clone(), true, self.always_allow);
        let port = HealthPort { checks, guard: Some(guard), extra };
        tasks.spawn(serve(listener, Some(Arc::new(tls)), Arc::new(port), shutdown));
        Ok(())
    }

    /// A pair in `--cert-dir`, or, without one, in a directory of this process's: only the running server needs it.
    fn self_signed(&self) -> anyhow::Result<(PathBuf, PathBuf)> {
        let own = || std::env::temp_dir().join(format!("{}-{}", self.component, std::process::id()));
        let dir = self.cert_dir.clone().unwrap_or_else(own);
        std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        Ok(tls::self_signed(&dir, self.component, &tls::self_signed_hosts(self.address.ip()))?)
    }
}
