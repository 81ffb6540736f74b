//! Expectations: what a controller did that its informers have not shown yet.
//!
//! After creating three pods a controller must not act on a store that shows only one of them. It records the creations and
//! deletions that it is about to do, its handlers record those that they see, and reconciles wait until all were seen (or five
//! minutes passed: then something was missed and the store is as good as it gets).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::ObjectKey;

const TIMEOUT: Duration = Duration::from_secs(300);

struct Expected {
    creations: i64,
    /// Uids of objects whose deletion was not seen yet.
    deletions: BTreeSet<String>,
    since: Instant,
}

/// Expectations by controller key. Cheap to clone.
#[derive(Clone, Default)]
pub struct Expectations(Arc<Mutex<BTreeMap<ObjectKey, Expected>>>);

impl Expectations {
    /// Expects creations and the deletions of objects (by uid), beside what is still expected. Call it before the writes.
    pub fn expect(&self, key: &ObjectKey, creations: usize, deletions: impl IntoIterator<Item = String>) {
        let mut all = self.0.lock();
        let now = Instant::now();
        let expected =
            all.entry(key.clone()).or_insert_with(|| Expected { creations: 0, deletions: BTreeSet::new(), since: now });
        expected.creations = expected.creations.max(0) + i64::try_from(creations).unwrap_or(i64::MAX);
        expected.deletions.extend(deletions);
        expected.since = now;
    }

    /// A creation was seen, or failed.
    pub fn creation_observed(&self, key: &ObjectKey) {
        if let Some(expected) = self.0.lock().get_mut(key) {
            expected.creations -= 1;
        }
    }

    /// A deletion (or the begin of a graceful one) was seen, or failed.
    pub fn deletion_observed(&self, key: &ObjectKey, uid: &str) {
        if let Some(expected) = self.0.lock().get_mut(key) {
            expected.deletions.remove(uid);
        }
    }

    /// Whether everything expected was seen (or timed out, or nothing was expected).
    pub fn satisfied(&self, key: &ObjectKey) -> bool {
        self.0.lock().get(key).is_none_or(|expected| {
            (expected.creations <= 0 && expected.deletions.is_empty()) || expected.since.elapsed() > TIMEOUT
        })
    }

    /// Forgets a controller that was deleted.
    pub fn remove(&self, key: &ObjectKey) {
        self.0.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_for_each_write_or_the_timeout() {
        let (expectations, key) = (Expectations::default(), ObjectKey::new("ns", "rs"));
        assert!(expectations.satisfied(&key));
        expectations.expect(&key, 2, ["u1".to_owned()]);
        expectations.creation_observed(&key);
        expectations.deletion_observed(&key, "other");
        expectations.creation_observed(&key);
        assert!(!expectations.satisfied(&key));
        expectations.deletion_observed(&key, "u1");
        expectations.deletion_observed(&key, "u1");
        assert!(expectations.satisfied(&key));

        expectations.expect(&key, 1, []);
        assert!(!expectations.satisfied(&key));
        tokio::time::advance(TIMEOUT + Duration::from_secs(1)).await;
        assert!(expectations.satisfied(&key));
        expectations.expect(&key, 1, []);
        expectations.remove(&key);
        assert!(expectations.satisfied(&key));
    }
}
