//! Runs a cluster's life in one thread, on a paused clock, from a seed.
//!
//! Time passes only while nothing can run, so an hour takes as long as its work. Everything that varies between runs
//! follows from the seed; two runs with one seed give the same [`History`](crate::History).

use std::future::Future;

use component_base::{clock, rng};
use jiff::Timestamp;

use crate::entropy;

/// When every simulation begins.
pub const EPOCH: i64 = 1_767_225_600; // 2026-01-01T00:00:00Z

/// Runs `life` and returns what it returns; a panic in it is one of the caller.
pub fn simulate<T, F>(seed: u64, life: impl FnOnce() -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let run = move || {
        entropy::seed_thread(seed);
        rng::seed_thread(seed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime needs no more than memory");
        runtime.block_on(async move {
            clock::set_for_thread(Timestamp::from_second(EPOCH).expect("the constant is a time"));
            life().await
        })
    };
    // A thread of its own: its thread-local state begins anew.
    let thread = std::thread::Builder::new().name(format!("simulation-{seed}")).stack_size(16 << 20).spawn(run);
    match thread.expect("a thread can be started").join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn draw(seed: u64) -> Vec<(u32, String, Timestamp)> {
        simulate(seed, || async {
            let mut drawn = Vec::new();
            for _ in 0..20 {
                // Both are ready: the choice is tokio's.
                let chosen = tokio::select! {
                    () = std::future::ready(()) => 1,
                    () = std::future::ready(()) => 2,
                };
                tokio::time::sleep(Duration::from_secs(60)).await;
                drawn.push((chosen, rng::suffix(5), clock::now()));
            }
            drawn
        })
    }

    #[test]
    fn a_seed_repeats_choices_names_and_times() {
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }
}
