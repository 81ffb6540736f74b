//! ResourceClaim: devices that pods use.

use crate::defaults::ensure;
use crate::kind::{Kind, empty_status};

pub(crate) static KIND: Kind = Kind {
    initial_status: Some(empty_status),
    default: |o| {
        ensure(o, "status");
        super::claim_spec_defaults(ensure(o, "spec"));
    },
    ..Kind::PLAIN
};
