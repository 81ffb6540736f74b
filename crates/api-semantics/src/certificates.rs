//! The names of certificate signers.

use crate::field::{Errors, Field};
use crate::names;

const FORM: &str = "must be a fully qualified domain and path of the form 'example.com/signer-name'";

/// `domain/path`, the domain with at least two labels (upstream: `ValidateSignerName`).
pub(crate) fn signer_name(field: &Field, errors: &mut Errors) {
    let text = field.str();
    if text.is_empty() {
        errors.required(field, "");
        return;
    }
    let segments: Vec<&str> = text.split('/').collect();
    let [domain, path] = segments[..] else {
        errors.invalid(field, FORM);
        return;
    };
    if domain.split('.').count() < 2 {
        errors.invalid(field, "should be a domain with at least two segments separated by dots");
    }
    // The first bad label is enough.
    if let Some(label) = domain.split('.').find(|l| !names::dns1123_label(l).is_empty()) {
        for message in names::dns1123_label(label) {
            errors.invalid_as(field, domain, format!("validating label {label:?}: {message}"));
        }
    }
    for label in path.split('.') {
        for message in names::dns1123_subdomain(label) {
            errors.invalid_as(field, path, format!("validating label {label:?}: {message}"));
        }
    }
    if text.len() > 571 {
        errors.too_long(field, 571);
    }
}
