//! RoleBinding: grants a role in a namespace.

use crate::kind::Kind;
use crate::object_meta::path_segment;

pub(crate) static KIND: Kind = Kind {
    default: super::binding_defaults,
    name: path_segment,
    validate: |binding, errors| super::binding(binding, true, errors),
    validate_change: super::binding_change,
    ..Kind::PLAIN
};
