//! A client that writes and reads.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Result;
use component_base::rng;
use testkit::checker::{At, Call, Expected, Outcome};

use super::{Plan, api::Api, pause};

pub(super) struct Writer {
    api: Arc<Api>,
    plan: Plan,
    /// At which revision each object stood when this client last heard of it.
    known: BTreeMap<String, u64>,
    /// The newest revision that it has heard of.
    newest: u64,
}

impl Writer {
    pub(super) fn new(api: Arc<Api>, plan: Plan) -> Self {
        Self { api, plan, known: BTreeMap::new(), newest: 0 }
    }

    pub(super) async fn run(mut self) -> Result<()> {
        for n in 0..self.plan.operations {
            let key = format!("cm-{}", rng::range(0..self.plan.keys));
            let call = self.choose(&key, n);
            let key = if matches!(call, Call::List(_)) { String::new() } else { key };
            let outcome = self.api.call(&key, call).await?;
            if outcome == Outcome::Unknown {
                self.api.move_on();
                // Else all operations would be over before the server is there again.
                pause(5 * self.plan.pause).await;
            }
            self.learn(key, outcome);
            pause(self.plan.pause).await;
        }
        Ok(())
    }

    fn choose(&self, key: &str, n: usize) -> Call {
        let value = format!("{}-{n}", self.api.name);
        let known = self.known.get(key).copied();
        match (rng::range(0..100), known) {
            (0..15, _) | (15..60, None) => Call::Put { value, expected: Expected::Absent },
            (15..50, Some(at)) => Call::Put { value, expected: Expected::At(at) },
            (50..60, _) => Call::Put { value, expected: Expected::Any },
            (60..68, expected) => Call::Delete { expected },
            (68..75, _) => Call::Delete { expected: None },
            (75..88, _) => Call::Get,
            (88..94, _) => Call::List(At::Newest),
            (94..96, _) => Call::List(At::Any),
            (96..98, _) if self.newest > 0 => Call::List(At::Exact(self.newest)),
            _ if self.newest > 0 => Call::List(At::NotOlderThan(self.newest)),
            _ => Call::List(At::Newest),
        }
    }

    fn learn(&mut self, key: String, outcome: Outcome) {
        match outcome {
            Outcome::Written { revision } | Outcome::Found { revision, .. } => {
                self.newest = self.newest.max(revision);
                self.known.insert(key, revision);
            }
            Outcome::Listed { revision, items } => {
                self.newest = self.newest.max(revision);
                self.known = items.into_iter().map(|(key, (revision, _))| (key, revision)).collect();
            }
            Outcome::Deleted | Outcome::Absent => {
                self.known.remove(&key);
            }
            // Its next try is from a stale revision, as it should be tried too.
            Outcome::Unknown | Outcome::Exists | Outcome::Conflict | Outcome::Refused => {}
        }
    }
}
