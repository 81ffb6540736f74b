//! Whether the server is well, and whether it is going down.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use component_base::health::{Checks, Endpoint};
use tokio_util::sync::CancellationToken;

/// Named checks, and the two steps of a shutdown: first `readyz` fails while requests are still served, then long-running
/// requests end.
#[derive(Clone)]
pub struct Health {
    pub checks: Checks,
    leaving: Arc<AtomicBool>,
    stopping: CancellationToken,
}

impl Default for Health {
    fn default() -> Self {
        let checks = Checks::with_ping();
        let leaving = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&leaving);
        checks.add("shutdown", &[Endpoint::Readyz], move || {
            if flag.load(Ordering::Relaxed) { Err("process is shutting down".to_owned()) } else { Ok(()) }
        });
        Health { checks, leaving, stopping: CancellationToken::new() }
    }
}

impl Health {
    /// From now on the server says that it is not ready.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Ends watches.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    /// Cancelled when watches shall end.
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }
}
