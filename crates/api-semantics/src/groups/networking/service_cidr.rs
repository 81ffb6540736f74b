//! ServiceCIDR: a range for service addresses.

use crate::defaults::ensure;
use crate::kind::{Kind, empty_status};

pub(crate) static KIND: Kind = Kind {
    initial_status: Some(empty_status),
    default: |o| {
        ensure(o, "spec");
        ensure(o, "status");
    },
    ..Kind::CLUSTER
};
