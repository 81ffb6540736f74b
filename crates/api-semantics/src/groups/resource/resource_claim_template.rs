//! ResourceClaimTemplate: makes a claim for each pod.

use crate::defaults::ensure;
use crate::field::{Errors, Field};
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind {
    default: |o| {
        let spec = ensure(o, "spec");
        ensure(spec, "metadata");
        super::claim_spec_defaults(ensure(spec, "spec"));
    },
    validate,
    validate_change: super::devices::immutable_spec,
    ..Kind::PLAIN
};

fn validate(template: &Field, errors: &mut Errors) {
    crate::object_meta::labels(&template.dig("spec.metadata.labels"), errors);
    super::devices::claim(&template.dig("spec.spec"), errors);
}
