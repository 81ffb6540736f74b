//! The packet filter, as the proxy uses it. The only place that runs its programs, so that tests can put a fake here.

use std::process::Stdio;

use async_trait::async_trait;
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{
    iptables::{JUMPS, OWN_CHAINS, Table},
    model::Family,
};

/// How the chain is called whose loss says that somebody flushed the tables.
const CANARY: &str = "KUBE-PROXY-CANARY";
const CANARY_TABLES: [&str; 3] = ["mangle", "nat", "filter"];
const TABLES: [&str; 3] = ["filter", "nat", "mangle"];
/// How long to wait for the lock that other users of the tables hold.
const LOCK_SECONDS: &str = "5";

/// What went wrong with the packet filter.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// A program could not be run.
    #[error("cannot run {program}")]
    Run {
        /// The program.
        program: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A program failed.
    #[error("{program} failed: {message}")]
    Failed {
        /// The program.
        program: &'static str,
        /// What it said.
        message: String,
    },
}

/// A packet filter of one family.
#[async_trait]
pub trait PacketFilter: Send + Sync {
    /// Applies rules in `iptables-restore` form, all or none, and leaves every chain alone that they do not name.
    async fn restore(&self, input: String) -> Result<(), SinkError>;
    /// Makes sure that the proxy's chains are reached, and sets the canary.
    async fn prepare(&self) -> Result<(), SinkError>;
    /// Whether the tables were flushed since they were prepared.
    async fn was_flushed(&self) -> Result<bool, SinkError>;
    /// The proxy's chains in a table.
    async fn chains(&self, table: Table) -> Result<Vec<String>, SinkError>;
    /// Removes everything that the proxy made, and nothing else.
    async fn clean_up(&self) -> Result<(), SinkError>;
}

/// iptables, whichever backend the system's `iptables` stands for.
#[derive(Clone, Copy, Debug)]
pub struct Iptables {
    family: Family,
}

impl Iptables {
    /// The packet filter of that family.
    #[must_use]
    pub fn new(family: Family) -> Self {
        Iptables { family }
    }

    fn restore_program(self) -> &'static str {
        if self.family == Family::V4 { "iptables-restore" } else { "ip6tables-restore" }
    }

    fn program(self) -> &'static str {
        if self.family == Family::V4 { "iptables" } else { "ip6tables" }
    }

    /// Runs single commands, which block, beside the runtime.
    async fn blocking<T: Send + 'static>(
        self,
        work: impl FnOnce(&iptables::IPTables) -> Result<T, Box<dyn std::error::Error>> + Send + 'static,
    ) -> Result<T, SinkError> {
        let failed = move |message: String| SinkError::Failed { program: self.program(), message };
        let run = move || {
            let mut tables = iptables::new(self.family == Family::V6).map_err(|error| error.to_string())?;
            // Else every address in a listing is looked up in the DNS.
            tables.set_numeric(true);
            work(&tables).map_err(|error| error.to_string())
        };
        let result = tokio::task::spawn_blocking(run).await.map_err(|error| failed(error.to_string()))?;
        result.map_err(failed)
    }
}

fn is_own(chain: &str) -> bool {
    OWN_CHAINS.iter().any(|own| if own.ends_with('-') { chain.starts_with(own) } else { chain == *own })
}

/// Makes the chain unless it is there. Asking first would list all its rules.
fn ensure_chain(tables: &iptables::IPTables, table: &str, chain: &str) -> Result<(), Box<dyn std::error::Error>> {
    let output = tables.execute(table, &format!("-N {chain}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() || said.contains("exists") { Ok(()) } else { Err(said.trim().to_owned().into()) }
}

#[async_trait]
impl PacketFilter for Iptables {
    async fn restore(&self, input: String) -> Result<(), SinkError> {
        let program = self.restore_program();
        let run = |source| SinkError::Run { program, source };
        let mut child = Command::new(program)
            .args(["-w", LOCK_SECONDS, "--noflush"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(run)?;
        let mut stdin = child.stdin.take();
        let feed = async {
            if let Some(stdin) = &mut stdin {
                // A program that ends early says why on its standard error.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
            drop(stdin.take());
        };
        let ((), output) = tokio::join!(feed, child.wait_with_output());
        let output = output.map_err(run)?;
        if output.status.success() {
            return Ok(());
        }
        Err(SinkError::Failed { program, message: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
    }

    async fn prepare(&self) -> Result<(), SinkError> {
        self.blocking(|tables| {
            for table in CANARY_TABLES {
                ensure_chain(tables, table, CANARY)?;
            }
            for jump in JUMPS {
                ensure_chain(tables, jump.table, jump.to)?;
                let rule = format!("{} -j {}", jump.matches, jump.to);
                if !tables.exists(jump.table, jump.from, &rule)? {
                    tables.insert(jump.table, jump.from, &rule, 1)?;
                }
            }
            Ok(())
        })
        .await
    }

    async fn was_flushed(&self) -> Result<bool, SinkError> {
        self.blocking(|tables| {
            for table in CANARY_TABLES {
                if !tables.chain_exists(table, CANARY)? {
                    return Ok(true);
                }
            }
            Ok(false)
        })
        .await
    }

    async fn chains(&self, table: Table) -> Result<Vec<String>, SinkError> {
        let all = self.blocking(move |tables| tables.list_chains(table.name())).await?;
        Ok(all.into_iter().filter(|chain| is_own(chain)).collect())
    }

    async fn clean_up(&self) -> Result<(), SinkError> {
        self.blocking(|tables| {
            for jump in JUMPS {
                let rule = format!("{} -j {}", jump.matches, jump.to);
                while tables.exists(jump.table, jump.from, &rule)? {
                    tables.delete(jump.table, jump.from, &rule)?;
                }
            }
            Ok(())
        })
        .await?;
        for table in TABLES {
            let all = self.blocking(move |tables| tables.list_chains(table)).await?;
            let own: Vec<_> = all.into_iter().filter(|chain| is_own(chain)).collect();
            if own.is_empty() {
                continue;
            }
            let declare: String = own.iter().map(|chain| format!(":{chain} - [0:0]\n")).collect();
            let remove: String = own.iter().map(|chain| format!("-X {chain}\n")).collect();
            self.restore(format!("*{table}\n{declare}{remove}COMMIT\n")).await?;
        }
        Ok(())
    }
}
