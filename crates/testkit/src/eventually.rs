//! Waiting for what must come true.

use std::{future::Future, time::Duration};

use tokio::time::Instant;

/// After what time the condition is looked at again: at first, and at last (a look may cost more than the time between).
const INTERVALS: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(10)];

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
        let [mut interval, longest] = INTERVALS;
        loop {
            match condition().await {
                Ok(value) => return value,
                Err(state) if Instant::now() >= end => {
                    panic!("{caller}: {what}: not within {limit:?}, last seen: {state}")
                }
                Err(_) => {
                    tokio::time::sleep(interval).await;
                    interval = interval.mul_f64(1.2).min(longest);
                }
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
