//! A line per step on the terminal: what runs, how long it took, or what failed.

use std::{future::Future, io::Write as _};

use anyhow::Result;
use tokio::time::Instant;

/// Runs one step and prints its line. The error is returned, so that the caller stops.
pub(crate) async fn step<T>(title: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    print!(" • {title} ...");
    let _ = std::io::stdout().flush();
    let start = Instant::now();
    let result = work.await;
    let mark = if result.is_ok() { "✓" } else { "✗" };
    println!("\r {mark} {title} ({:.1} s)  ", start.elapsed().as_secs_f64());
    result.map_err(|e| e.context(format!("step failed: {title}")))
}
