//! Role: permissions in a namespace.

use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { ..Kind::PLAIN };
