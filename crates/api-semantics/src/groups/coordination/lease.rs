//! Lease: a lock with a holder and a renewal time.

use crate::defaults::ensure;
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind {
    default: |o| {
        ensure(o, "spec");
    },
    create_on_update: true,
    unconditional_update: false,
    ..Kind::PLAIN
};
