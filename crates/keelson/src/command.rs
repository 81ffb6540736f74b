//! Runs a system tool and turns its failure into an error that shows the command and what it said.

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

/// Runs `line` (split at spaces; no quoting) and returns its standard output.
pub(crate) async fn run(line: &str) -> Result<String> {
    let mut words = line.split_whitespace();
    let program = words.next().context("empty command")?;
    let output = Command::new(program).args(words).output().await.with_context(|| format!("run {program}"))?;
    if !output.status.success() {
        bail!("`{line}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs `line` where failure means that there was nothing to do (removing what may be absent).
pub(crate) async fn attempt(line: &str) {
    if let Err(error) = run(line).await {
        tracing::debug!(%error, "ignored");
    }
}
