//! The group `node.k8s.io`.

mod runtime_class;

use crate::kind::Kind;

/// The kinds of the group, and the version that an entry is limited to.
pub(crate) static KINDS: &[(&str, Option<&str>, &Kind)] = &[("RuntimeClass", None, &runtime_class::KIND)];
