//! What built-in kinds add to the generic verbs: grace periods, allocations, what keeps a namespace.

mod namespaces;
mod orphaning;
mod pods;
mod services;
mod timed;

use std::{collections::BTreeMap, sync::Arc};

use apiserver::model::Behaviour;

use crate::{cell::CoreCell, config::Config};

/// By (group, resource).
pub(crate) type Table = BTreeMap<(&'static str, &'static str), Arc<dyn Behaviour>>;

pub(crate) fn table(config: &Config, core: &CoreCell) -> Table {
    let events: Arc<dyn Behaviour> = Arc::new(timed::Events(config.event_ttl));
    BTreeMap::from([
        (("", "pods"), Arc::new(pods::Pods) as Arc<dyn Behaviour>),
        (("", "services"), Arc::new(services::Services::new(config, core.clone()))),
        (("", "namespaces"), Arc::new(namespaces::Namespaces)),
        (("apiextensions.k8s.io", "customresourcedefinitions"), Arc::new(crate::custom::Definitions)),
        (("", "replicationcontrollers"), Arc::new(orphaning::Orphaning { warning: None })),
        (("batch", "jobs"), Arc::new(orphaning::Orphaning { warning: Some(orphaning::PODS_STAY) })),
        (("", "events"), Arc::clone(&events)),
        (("events.k8s.io", "events"), events),
    ])
}
