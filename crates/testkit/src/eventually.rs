//! Waiting for what must come true.

use std::{future::Future, time::Duration};

use tokio::time::Instant;

/// How often the condition is looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// Waits until `condition` gives a value.
///
/// # Panics
/// If it does not within `limit`: the panic says `what` was waited for, and what `condition` said last.
#[track_caller]
pub fn eventually<T, F>(limit: Duration, what: &str, mut condition: impl FnMut() -> F) -> impl Future<Output = T>
where
    F: Future<Output = Result<T, String>>,
{
    let caller = std::panic::Location::caller();
    async move {
        let end = Instant::now() + limit;
        loop {
            match condition().await {
                Ok(value) => return value,
                Err(state) if Instant::now() >= end => {
                    panic!("{caller}: {what}: not within {limit:?}, last seen: {state}")
                }
                Err(_) => tokio::time::sleep(INTERVAL).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_waits() {
        let start = Instant::now();
        let age = || async move {
            let age = start.elapsed();
            if age < Duration::from_secs(100) { Err(format!("{age:?}")) } else { Ok(age) }
        };
        eventually(Duration::from_secs(200), "to grow old", age).await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "the impossible: not within 3s, last seen: no")]
    async fn it_gives_up() {
        eventually::<(), _>(Duration::from_secs(3), "the impossible", || async { Err("no".into()) }).await;
    }
}
