//! CSIStorageCapacity: space left for a class in a topology.

use crate::field::{Errors, Field};
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { unconditional_update: false, validate, validate_change, ..Kind::PLAIN };

fn validate(capacity: &Field, errors: &mut Errors) {
    crate::selectors::validate(&capacity.get("nodeTopology"), errors);
    let class = capacity.get("storageClassName");
    errors.invalid_each(&class, crate::names::dns1123_subdomain(class.str()));
    for name in ["capacity", "maximumVolumeSize"] {
        let amount = capacity.get(name);
        if let Some(q) = crate::quantity::of(amount.value())
            && q.is_negative()
        {
            errors.invalid_as(&amount, q.to_string(), "must be greater than or equal to 0");
        }
    }
}

fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    for name in ["nodeTopology", "storageClassName"] {
        crate::checks::immutable(&new.get(name), &old.get(name), errors);
    }
}
