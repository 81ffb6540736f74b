//! The group `policy`.

mod pod_disruption_budget;

use crate::kind::Kind;

/// The kinds of the group, and the version that an entry is limited to.
pub(crate) static KINDS: &[(&str, Option<&str>, &Kind)] =
    &[("PodDisruptionBudget", None, &pod_disruption_budget::KIND)];
