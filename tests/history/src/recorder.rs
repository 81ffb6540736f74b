//! Writes down what clients do, in the order in which it becomes known.

use std::sync::Arc;

use parking_lot::Mutex;
use testkit::checker::{Call, Moment, Observations, Operation, Outcome, Seen, Watch};

/// Shared by all clients of a run.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    now: Moment,
    observations: Observations,
    expired: usize,
}

impl Recorder {
    /// Something begins now.
    pub fn begin(&self) -> Moment {
        let mut state = self.0.lock();
        state.now += 1;
        state.now
    }

    /// The operation that began then has ended.
    pub fn end(&self, client: &str, began: Moment, key: &str, call: Call, outcome: Outcome) {
        let mut state = self.0.lock();
        state.now += 1;
        let operation =
            Operation { client: client.to_owned(), began, ended: state.now, key: key.to_owned(), call, outcome };
        state.observations.operations.push(operation);
    }

    /// A watch begins; its number.
    pub fn watch(&self, client: &str, after: u64) -> usize {
        let mut state = self.0.lock();
        state.observations.watches.push(Watch { client: client.to_owned(), after, seen: Vec::new() });
        state.observations.watches.len() - 1
    }

    /// A watch saw something.
    pub fn saw(&self, watch: usize, seen: Seen) {
        self.0.lock().observations.watches[watch].seen.push(seen);
    }

    /// A watch could not go on where it had been.
    pub fn expired(&self) {
        self.0.lock().expired += 1;
    }

    /// Everything so far, and how many watches had expired.
    pub fn take(&self) -> (Observations, usize) {
        let mut state = self.0.lock();
        (std::mem::take(&mut state.observations), state.expired)
    }
}
