//! The group `events.k8s.io`.

mod event;

use crate::kind::Kind;

/// The kinds of the group, and the version that an entry is limited to.
pub(crate) static KINDS: &[(&str, Option<&str>, &Kind)] = &[("Event", None, &event::KIND)];
