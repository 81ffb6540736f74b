//! PrioritySort: the higher priority goes first, then who waited longer. The queue has this order built in, the only one that
//! upstream offers; the plugin is there to be named in a configuration.

use std::sync::Arc;

use crate::framework::{Descriptor, Plugin, Point};

pub(super) const DESCRIPTOR: Descriptor =
    Descriptor { name: "PrioritySort", points: &[Point::QueueSort], weight: 0, build: |_| Ok(Arc::new(PrioritySort)) };

struct PrioritySort;

impl Plugin for PrioritySort {}
