//! ClusterRole: permissions in the cluster.

use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { ..Kind::CLUSTER };
