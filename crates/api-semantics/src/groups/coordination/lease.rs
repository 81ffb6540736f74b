//! Lease: a lock with a holder and a renewal time.

use crate::defaults::ensure;
use crate::field::{Errors, Field};
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind {
    default: |o| {
        ensure(o, "spec");
    },
    create_on_update: true,
    unconditional_update: false,
    validate,
    ..Kind::PLAIN
};

fn validate(lease: &Field, errors: &mut Errors) {
    let spec = lease.get("spec");
    let duration = spec.get("leaseDurationSeconds");
    if duration.exists() && duration.int_or_zero() <= 0 {
        errors.invalid(&duration, "must be greater than 0");
    }
    crate::checks::non_negative(&spec.get("leaseTransitions"), errors);
    let (strategy, preferred) = (spec.get("strategy"), spec.get("preferredHolder"));
    if strategy.exists() {
        super::strategy(&strategy, errors);
    }
    if !preferred.str().is_empty() && strategy.str().is_empty() {
        errors.forbidden(&preferred, "may only be specified if `strategy` is defined");
    }
}
