//! Runs a cluster's life in one thread, on a paused clock, from a seed.
//!
//! Time passes only while nothing can run, so an hour takes as long as its work. Everything that varies between runs
//! follows from the seed, but for what libraries count per process (tokio's choice among ready branches of `select!`
//! begins with such a count): [`assert_repeats`](crate::assert_repeats) runs in processes of their own therefore.

use std::future::Future;

use component_base::{clock, rng};
use jiff::Timestamp;

use crate::entropy;

/// When every simulation begins.
pub const EPOCH: i64 = 1_767_225_600; // 2026-01-01T00:00:00Z

/// Set to a verbosity (`-v` of the components) to see what they log.
const LOG: &str = "TESTKIT_LOG";

/// Runs `life` and returns what it returns; a panic in it is one of the caller.
pub fn simulate<T, F>(seed: u64, life: impl FnOnce() -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    if let Some(level) = std::env::var_os(LOG) {
        component_base::logging::init(level.to_string_lossy().parse().unwrap_or_default());
    }
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
    use crate::{Entry, History};

    fn draw(seed: u64) -> Vec<(String, Timestamp)> {
        simulate(seed, || async {
            let mut drawn = Vec::new();
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_secs(60)).await;
                drawn.push((rng::suffix(5), clock::now()));
            }
            drawn
        })
    }

    #[test]
    fn a_seed_repeats_names_and_times() {
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    /// Both branches are ready each time: the choices are tokio's.
    async fn choices() -> History {
        let mut chosen = Vec::new();
        for _ in 0..64 {
            tokio::select! {
                () = std::future::ready(()) => chosen.push(1),
                () = std::future::ready(()) => chosen.push(2),
            }
        }
        assert!(chosen.contains(&1) && chosen.contains(&2));
        History(vec![Entry { revision: 1, key: String::new(), value: Some(chosen) }])
    }

    #[test]
    fn a_seed_repeats_choices() {
        crate::assert_repeats("simulation::tests::a_seed_repeats_choices", 7, choices);
    }
}
