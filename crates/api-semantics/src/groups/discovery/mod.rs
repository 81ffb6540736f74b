//! The group `discovery.k8s.io`.

mod endpoint_slice;

use crate::kind::Kind;

/// The kinds of the group, and the version that an entry is limited to.
pub(crate) static KINDS: &[(&str, Option<&str>, &Kind)] = &[("EndpointSlice", None, &endpoint_slice::KIND)];
