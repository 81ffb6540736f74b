//! RoleBinding: grants a role in a namespace.

use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { default: super::binding_defaults, name: crate::object_meta::path_segment, ..Kind::PLAIN };
