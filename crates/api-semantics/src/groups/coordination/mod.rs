//! The group `coordination.k8s.io`.

mod lease;
mod lease_candidate;

use crate::kind::Kind;

/// The kinds of the group, and the version that an entry is limited to.
pub(crate) static KINDS: &[(&str, Option<&str>, &Kind)] =
    &[("Lease", None, &lease::KIND), ("LeaseCandidate", None, &lease_candidate::KIND)];
