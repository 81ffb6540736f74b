//! MutatingAdmissionPolicy: CEL rules that may change objects.

use serde_json::Value;

use crate::defaults::{ensure, set, within};
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind {
    generation: true,
    default,
    unconditional_update: false,
    validate: |o, e| {
        let expressions = super::policies::policy(o, true, e);
        super::policies::mutations(o, &expressions, e);
    },
    ..Kind::CLUSTER
};

fn default(policy: &mut Value) {
    let spec = ensure(policy, "spec");
    set(spec, "failurePolicy", "Fail");
    within(spec, "matchConstraints", super::match_resources_defaults);
}
