//! ClusterRoleBinding: grants a role everywhere.

use crate::kind::Kind;
use crate::object_meta::path_segment;

pub(crate) static KIND: Kind = Kind {
    default: super::binding_defaults,
    name: path_segment,
    validate: |binding, errors| super::binding(binding, false, errors),
    validate_change: super::binding_change,
    ..Kind::CLUSTER
};
