//! PrioritySort: the higher priority goes first, then who waited longer.

use std::{cmp::Ordering, sync::Arc};

use api_types::k8s_openapi::jiff::Timestamp;

use crate::framework::{Descriptor, Plugin, Point};

pub(super) const DESCRIPTOR: Descriptor =
    Descriptor { name: "PrioritySort", points: &[Point::QueueSort], weight: 0, build: |_| Ok(Arc::new(PrioritySort)) };

/// The queue has this order built in: it is the only one that upstream offers.
struct PrioritySort;

impl Plugin for PrioritySort {}

/// Orders waiting pods by priority (high first) and the time since when they wait.
#[must_use]
pub fn goes_first(a: (i32, Timestamp), b: (i32, Timestamp)) -> Ordering {
    b.0.cmp(&a.0).then(a.1.cmp(&b.1))
}
