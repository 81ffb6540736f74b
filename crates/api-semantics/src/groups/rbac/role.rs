//! Role: permissions in a namespace.

use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { name: crate::object_meta::path_segment, ..Kind::PLAIN };
