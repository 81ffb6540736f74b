//! The group `autoscaling`.

mod horizontal_pod_autoscaler;
mod horizontal_pod_autoscaler_v1;
mod hpa_validation;

use crate::kind::Kind;

/// The kinds of the group, and the version that an entry is limited to.
pub(crate) static KINDS: &[(&str, Option<&str>, &Kind)] = &[
    ("HorizontalPodAutoscaler", Some("v2"), &horizontal_pod_autoscaler::KIND),
    ("HorizontalPodAutoscaler", Some("v1"), &horizontal_pod_autoscaler_v1::KIND),
];
