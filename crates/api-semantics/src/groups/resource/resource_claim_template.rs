//! ResourceClaimTemplate: makes a claim for each pod.

use crate::defaults::ensure;
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind {
    default: |o| {
        let spec = ensure(o, "spec");
        ensure(spec, "metadata");
        super::claim_spec_defaults(ensure(spec, "spec"));
    },
    ..Kind::PLAIN
};
