//! ResourcePoolStatusRequest: asks for the state of a pool.

use super::devices::driver_name;
use super::slices::pool_name;
use crate::checks::{IMMUTABLE, same};
use crate::field::{Errors, Field};
use crate::kind::{Kind, empty_status};

pub(crate) static KIND: Kind = Kind {
    generation: true,
    initial_status: Some(empty_status),
    status_keeps_metadata: true,
    validate_create,
    validate_change,
    labels_validated: 3,
    ..Kind::CLUSTER
};

fn validate_create(request: &Field, errors: &mut Errors) {
    let spec = request.get("spec");
    driver_name(&spec.get("driver"), errors);
    if spec.has("poolName") {
        pool_name(&spec.get("poolName"), errors);
    }
    if spec.has("limit") {
        crate::checks::positive(&spec.get("limit"), errors);
    }
}

/// A question is asked once.
fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    if !same(&new.get("spec"), &old.get("spec")) {
        errors.invalid(&new.get("spec"), IMMUTABLE);
    }
}
