//! Wall time that follows tokio's clock, so that a test which pauses tokio's clock also controls timestamps.
//!
//! Now = a wall-clock anchor taken once per process (or set per thread by a test) + the time that tokio's clock has run since.

use std::{cell::Cell, sync::OnceLock, time::SystemTime};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

static ANCHOR: OnceLock<(Instant, Timestamp)> = OnceLock::new();

thread_local! {
    static THREAD_ANCHOR: Cell<Option<(Instant, Timestamp)>> = const { Cell::new(None) };
}

/// The current time.
pub fn now() -> Timestamp {
    let (since, anchor) = THREAD_ANCHOR.get().unwrap_or_else(|| *ANCHOR.get_or_init(|| (Instant::now(), wall_time())));
    let elapsed =
        SignedDuration::try_from(Instant::now().saturating_duration_since(since)).unwrap_or(SignedDuration::MAX);
    anchor.checked_add(elapsed).unwrap_or(Timestamp::MAX)
}

/// From here on this thread's [`now`] counts from `anchor` (tests: the same times in every run).
pub fn set_for_thread(anchor: Timestamp) {
    THREAD_ANCHOR.set(Some((Instant::now(), anchor)));
}

fn wall_time() -> Timestamp {
    Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn follows_the_paused_clock() {
        set_for_thread(Timestamp::UNIX_EPOCH);
        tokio::time::advance(std::time::Duration::from_secs(3600)).await;
        assert_eq!(now(), Timestamp::from_second(3600).unwrap());
    }
}
