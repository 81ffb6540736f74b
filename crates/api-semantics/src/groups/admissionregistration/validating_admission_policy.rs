//! ValidatingAdmissionPolicy: CEL rules that may refuse requests.

use serde_json::Value;

use crate::defaults::{ensure, set, within};
use crate::kind::{Kind, empty_status};

pub(crate) static KIND: Kind = Kind {
    generation: true,
    initial_status: Some(empty_status),
    default,
    unconditional_update: false,
    validate: |o, e| {
        super::policies::policy(o, e);
        super::policies::validations(o, e);
    },
    ..Kind::CLUSTER
};

fn default(policy: &mut Value) {
    ensure(policy, "status");
    let spec = ensure(policy, "spec");
    set(spec, "failurePolicy", "Fail");
    within(spec, "matchConstraints", super::match_resources_defaults);
}
