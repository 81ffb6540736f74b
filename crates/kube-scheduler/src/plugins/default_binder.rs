//! DefaultBinder: binds through the pod's `binding` subresource. What it does lives in the binder, the only writer.

use std::sync::Arc;

use crate::framework::{Descriptor, Plugin, Point};

pub(super) const DESCRIPTOR: Descriptor =
    Descriptor { name: "DefaultBinder", points: &[Point::Bind], weight: 0, build: |_| Ok(Arc::new(DefaultBinder)) };

struct DefaultBinder;

impl Plugin for DefaultBinder {}
