//! The group `apps`.

mod controller_revision;
mod daemon_set;
mod deployment;
mod replica_set;
mod stateful_set;

use crate::kind::Kind;

/// The kinds of the group, and the version that an entry is limited to.
pub(crate) static KINDS: &[(&str, Option<&str>, &Kind)] = &[
    ("ControllerRevision", None, &controller_revision::KIND),
    ("DaemonSet", None, &daemon_set::KIND),
    ("Deployment", None, &deployment::KIND),
    ("ReplicaSet", None, &replica_set::KIND),
    ("StatefulSet", None, &stateful_set::KIND),
];
