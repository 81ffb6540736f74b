//! ClusterRole: permissions in the cluster.

use crate::kind::Kind;

pub(crate) static KIND: Kind =
    Kind { default: |o| crate::defaults::set(o, "rules", serde_json::Value::Null), ..Kind::CLUSTER };
