//! Events go away by themselves.

use std::time::Duration;

use apiserver::model::Behaviour;

/// With `--event-ttl`.
pub(super) struct Events(pub(super) Duration);

impl Behaviour for Events {
    fn time_to_live(&self) -> Option<Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }
}
