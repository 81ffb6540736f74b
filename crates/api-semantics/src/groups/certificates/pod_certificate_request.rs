//! PodCertificateRequest: a certificate for a pod.

use crate::certificates::signer_name;
use crate::checks::{IMMUTABLE, in_range, required, required_name, same};
use crate::defaults::set;
use crate::field::{Errors, Field};
use crate::kind::{Kind, empty_status};
use crate::names;

pub(crate) static KIND: Kind = Kind {
    initial_status: Some(empty_status),
    status_keeps_metadata: true,
    default: |o| set(crate::defaults::ensure(o, "spec"), "maxExpirationSeconds", 86400),
    validate_create,
    validate_change,
    labels_validated: 3,
    ..Kind::PLAIN
};

/// An hour to 91 days, in seconds.
const LIFETIME: (i64, i64) = (3600, 91 * 24 * 3600);

fn validate_create(request: &Field, errors: &mut Errors) {
    let spec = request.get("spec");
    signer_name(&spec.get("signerName"), errors);
    for name in ["podName", "serviceAccountName", "nodeName"] {
        required_name(&spec.get(name), names::dns1123_subdomain, errors);
    }
    for name in ["podUID", "serviceAccountUID", "nodeUID"] {
        let uid = spec.get(name);
        required(&uid, errors);
        if uid.len() > 128 {
            errors.too_long(&uid, 128);
        }
    }
    in_range(&spec.get("maxExpirationSeconds"), LIFETIME.0, LIFETIME.1, errors);
}

/// A question is asked once.
fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    if !same(&new.get("spec"), &old.get("spec")) {
        errors.invalid(&new.get("spec"), IMMUTABLE);
    }
}
