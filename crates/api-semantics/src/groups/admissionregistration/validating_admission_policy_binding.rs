//! ValidatingAdmissionPolicyBinding: where a validating policy applies.

use crate::defaults::within;
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind {
    generation: true,
    default: |o| within(o, "spec.matchResources", super::match_resources_defaults),
    unconditional_update: false,
    validate: |o, e| {
        super::policies::binding(o, e);
        super::policies::validation_actions(o, e);
    },
    ..Kind::CLUSTER
};
