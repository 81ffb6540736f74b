//! ClusterRole: permissions in the cluster.

use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { name: crate::object_meta::path_segment, ..Kind::CLUSTER };
