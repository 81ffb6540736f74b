//! ResourceClaim: devices that pods use.

use crate::defaults::ensure;
use crate::kind::{Kind, empty_status};

pub(crate) static KIND: Kind = Kind {
    initial_status: Some(empty_status),
    status_keeps_metadata: true,
    default: |o| {
        ensure(o, "status");
        super::claim_spec_defaults(ensure(o, "spec"));
    },
    validate_create: |o, e| super::devices::claim(&o.get("spec"), e),
    validate_change: super::devices::immutable_spec,
    ..Kind::PLAIN
};
