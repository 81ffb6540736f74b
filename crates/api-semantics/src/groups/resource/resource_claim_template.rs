//! ResourceClaimTemplate: makes a claim for each pod.

use crate::defaults::ensure;
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind {
    default: |o| {
        let spec = ensure(o, "spec");
        ensure(spec, "metadata");
        super::claim_spec_defaults(ensure(spec, "spec"));
    },
    validate_create: |o, e| super::devices::claim(&o.dig("spec.spec"), e),
    validate_change: super::devices::immutable_spec,
    ..Kind::PLAIN
};
