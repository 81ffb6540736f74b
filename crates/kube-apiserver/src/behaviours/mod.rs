//! What built-in kinds add to the generic verbs: grace periods, allocations, what keeps a namespace.

mod namespaces;
mod orphaning;
mod pods;
mod timed;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use apiserver::model::Behaviour;

/// By (group, resource).
pub(crate) type Table = BTreeMap<(&'static str, &'static str), Arc<dyn Behaviour>>;

pub(crate) fn table(event_ttl: Duration) -> Table {
    let events: Arc<dyn Behaviour> = Arc::new(timed::Events(event_ttl));
    BTreeMap::from([
        (("", "pods"), Arc::new(pods::Pods) as Arc<dyn Behaviour>),
        (("", "namespaces"), Arc::new(namespaces::Namespaces)),
        (("", "replicationcontrollers"), Arc::new(orphaning::Orphaning)),
        (("batch", "jobs"), Arc::new(orphaning::Orphaning)),
        (("", "events"), Arc::clone(&events)),
        (("events.k8s.io", "events"), events),
    ])
}
