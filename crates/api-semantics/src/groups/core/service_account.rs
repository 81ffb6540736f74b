//! ServiceAccount: an identity for pods.

use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { ..Kind::PLAIN };
