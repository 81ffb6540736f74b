//! MutatingAdmissionPolicyBinding: where a mutating policy applies.

use crate::defaults::within;
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind {
    generation: true,
    default: |o| within(o, "spec.matchResources", super::match_resources_defaults),
    unconditional_update: false,
    validate: super::policies::binding,
    ..Kind::CLUSTER
};
