//! ClusterRoleBinding: grants a role everywhere.

use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { default: super::binding_defaults, ..Kind::CLUSTER };
