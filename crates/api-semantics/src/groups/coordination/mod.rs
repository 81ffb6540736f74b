//! The group `coordination.k8s.io`.

mod lease;
mod lease_candidate;

use crate::field::{Errors, Field};
use crate::kind::Kind;
use crate::names;

/// The kinds of the group, and the version that an entry is limited to.
pub(crate) static KINDS: &[(&str, Option<&str>, &Kind)] =
    &[("Lease", None, &lease::KIND), ("LeaseCandidate", None, &lease_candidate::KIND)];

/// How the holder of a lease is chosen: one of the known ways, or somebody's own with a domain. Upstream names the field
/// twice.
fn strategy(field: &Field, errors: &mut Errors) {
    let shown = Field::at(field.value(), field.path().child("strategy"));
    if field.str().contains('/') {
        errors.invalid_each(&shown, names::qualified_name(field.str()));
    } else if field.str() != lease_candidate::OLDEST && !field.str().is_empty() {
        errors.not_supported(&shown, &[lease_candidate::OLDEST]);
    }
}
