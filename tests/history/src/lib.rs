//! Clients write, list and watch while the store and the API server are killed, paused, cut off and restarted; what they
//! observed is checked by [`testkit::checker`].
//!
//! [`simulated`] runs are in one thread on a paused clock, with a disk that forgets what was not synced; [`processes`] are
//! real ones, with real kill -9. Both share the [`workload`].

pub mod disk;
pub mod line;
pub mod processes;
mod recorder;
pub mod simulated;
pub mod unsteady;
pub mod workload;

pub use recorder::Recorder;

use testkit::checker::{Observations, Violation};

/// What came of one run.
#[derive(Debug, Default)]
pub struct Report {
    pub operations: usize,
    /// Operations whose outcome stayed open.
    pub unanswered: usize,
    pub events: usize,
    pub watches: usize,
    /// Times that a watch had to begin anew from a list.
    pub expired: usize,
    pub faults: Vec<String>,
    pub violations: Vec<Violation>,
    pub observations: Observations,
}

impl Report {
    /// What the checker says of everything that was recorded.
    pub fn of(recorder: &Recorder, faults: Vec<String>) -> Self {
        use testkit::checker::{Outcome, check};
        let (observations, expired) = recorder.take();
        Self {
            operations: observations.operations.len(),
            unanswered: observations.operations.iter().filter(|op| op.outcome == Outcome::Unknown).count(),
            events: observations.watches.iter().map(|watch| watch.seen.len()).sum(),
            watches: observations.watches.len(),
            expired,
            faults,
            violations: check(&observations),
            observations,
        }
    }

    /// Adds the numbers of another run.
    pub fn add(&mut self, other: Self) {
        self.operations += other.operations;
        self.unanswered += other.unanswered;
        self.events += other.events;
        self.watches += other.watches;
        self.expired += other.expired;
        self.faults.extend(other.faults);
        self.violations.extend(other.violations);
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { operations, unanswered, events, watches, expired, faults, violations, .. } = self;
        let (faults, violations) = (faults.len(), violations.len());
        write!(
            f,
            "{operations} operations ({unanswered} without an answer), {watches} watches with {events} events ({expired} expired), {faults} faults, {violations} violations"
        )
    }
}
