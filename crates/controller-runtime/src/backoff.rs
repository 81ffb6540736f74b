//! Delays between attempts: exponential with a cap and jitter, on tokio's clock.

use std::time::Duration;

use tokio::time::Instant;

/// An exponential backoff. The next delay doubles up to the cap; it starts again after [`Backoff::reset`], or when nothing asked for
/// a delay for a while.
#[derive(Clone, Debug)]
pub struct Backoff {
    initial: Duration,
    cap: Duration,
    jitter: f64,
    forget_after: Option<Duration>,
    current: Duration,
    last: Option<Instant>,
}

impl Backoff {
    /// A backoff from `initial` to `cap`. Each delay is lengthened by up to `jitter` times itself.
    pub fn new(initial: Duration, cap: Duration, jitter: f64) -> Self {
        Self { initial, cap, jitter, forget_after: None, current: initial, last: None }
    }

    /// Upstream's backoff of a failing reflector: 800 ms to 30 s, jittered, forgotten after two quiet minutes.
    pub fn reflector() -> Self {
        let mut backoff = Self::new(Duration::from_millis(800), Duration::from_secs(30), 1.0);
        backoff.forget_after = Some(Duration::from_secs(120));
        backoff
    }

    /// The next delay.
    pub fn next_delay(&mut self) -> Duration {
        let now = Instant::now();
        if let (Some(quiet), Some(last)) = (self.forget_after, self.last)
            && now.duration_since(last) > quiet
        {
            self.current = self.initial;
        }
        self.last = Some(now);
        let delay = jitter(self.current, self.jitter);
        self.current = (self.current * 2).min(self.cap);
        delay
    }

    /// Starts again from the initial delay. A backoff that forgets by itself does not: one good answer in a row of bad ones is not
    /// enough for it.
    pub fn reset(&mut self) {
        if self.forget_after.is_none() {
            self.current = self.initial;
        }
    }
}

/// Lengthens a duration by a random part of up to `factor` times itself.
pub fn jitter(duration: Duration, factor: f64) -> Duration {
    const STEPS: u64 = 1 << 20;
    let part = component_base::rng::range(0..STEPS) as f64 / STEPS as f64;
    duration + duration.mul_f64(part * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn doubles_to_the_cap_and_forgets() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(3), 0.0);
        let delays: Vec<_> = (0..4).map(|_| backoff.next_delay().as_secs()).collect();
        assert_eq!(delays, [1, 2, 3, 3]);
        backoff.reset();
        assert_eq!(backoff.next_delay().as_secs(), 1);

        let mut backoff = Backoff::reflector();
        backoff.next_delay();
        assert!(backoff.next_delay() >= Duration::from_millis(1600));
        tokio::time::advance(Duration::from_secs(121)).await;
        assert!(backoff.next_delay() < Duration::from_millis(1600));
    }
}
