//! The group `apiregistration.k8s.io`.

mod api_service;

use crate::kind::Kind;

/// The kinds of the group, and the version that an entry is limited to.
pub(crate) static KINDS: &[(&str, Option<&str>, &Kind)] = &[("APIService", None, &api_service::KIND)];
