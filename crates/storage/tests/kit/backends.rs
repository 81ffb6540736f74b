//! The backends that the kit runs over, as things that can be killed and opened again.

use std::{
    path::Path,
    process::{Child, Command},
    sync::Arc,
    time::Duration,
};

use storage::{
    embedded::Embedded,
    etcd::{Etcd, EtcdConfig},
};
use tempfile::TempDir;

use crate::Db;

/// A store whose data outlives the value that it is used through.
pub(crate) enum Backend {
    File(TempDir),
    Etcd(EtcdServer),
}

impl Backend {
    pub(crate) async fn open(&self) -> Db {
        match self {
            Self::File(dir) => Arc::new(Embedded::open(dir.path()).await.unwrap()),
            Self::Etcd(server) => Arc::new(server.connect().await),
        }
    }

    /// Closes the store, or kills it where it is a process, and opens it again.
    pub(crate) async fn reopen(&mut self, db: Db) -> Db {
        drop(db);
        if let Self::Etcd(server) = self {
            server.kill();
            server.spawn();
        }
        self.open().await
    }

    /// Removes everything, so that the next case finds nothing.
    pub(crate) async fn clear(&self) {
        let db = self.open().await;
        for kv in db.list("/", storage::ListOptions::default()).await.unwrap().items {
            db.delete(&kv.key, kv.mod_revision).await.unwrap();
        }
    }
}

/// The program, where the machine has it.
pub(crate) fn etcd_program() -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|dir| dir.join("etcd")).find(|file| file.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: there is no etcd in $PATH");
    }
    found
}

/// A real etcd on loopback, ended and removed with the value.
pub(crate) struct EtcdServer {
    program: std::path::PathBuf,
    process: Child,
    client: String,
    peer: String,
    dir: TempDir,
}

impl EtcdServer {
    pub(crate) fn start() -> Option<Self> {
        let program = etcd_program()?;
        let dir = tempfile::tempdir().unwrap();
        let sockets = [0, 1].map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let [client, peer] = sockets.map(|socket| format!("http://{}", socket.local_addr().unwrap()));
        let process = spawn(&program, dir.path(), &client, &peer);
        Some(Self { program, process, client, peer, dir })
    }

    pub(crate) fn spawn(&mut self) {
        self.process = spawn(&self.program, self.dir.path(), &self.client, &self.peer);
    }

    /// As `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn config(&self) -> EtcdConfig {
        EtcdConfig { servers: vec![self.client.clone()], ..EtcdConfig::default() }
    }

    pub(crate) async fn connect(&self) -> Etcd {
        let connected = async {
            loop {
                match Etcd::connect(self.config()).await {
                    Ok(store) => return store,
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), connected).await.expect("etcd did not start")
    }
}

fn spawn(program: &Path, dir: &Path, client: &str, peer: &str) -> Child {
    Command::new(program)
        .arg("--data-dir")
        .arg(dir)
        .args(["--listen-client-urls", client, "--advertise-client-urls", client])
        .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
        .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        self.kill();
    }
}
