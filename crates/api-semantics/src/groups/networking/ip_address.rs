//! IPAddress: an address taken from a service range.

use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { ..Kind::CLUSTER };
