//! PodGroup: pods that are scheduled together.

use crate::defaults::ensure;
use crate::kind::{Kind, empty_status};

pub(crate) static KIND: Kind = Kind {
    generation: true,
    initial_status: Some(empty_status),
    default: |o| {
        ensure(o, "status");
    },
    ..Kind::PLAIN
};
