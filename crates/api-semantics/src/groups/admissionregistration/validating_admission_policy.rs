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
        let expressions = super::policies::policy(o, false, e);
        super::policies::validations(o, &expressions, e);
    },
    ..Kind::CLUSTER
};

fn default(policy: &mut Value) {
    ensure(policy, "status");
    let spec = ensure(policy, "spec");
    set(spec, "failurePolicy", "Fail");
    within(spec, "matchConstraints", super::match_resources_defaults);
}
