//! Secret: typed data for pods.

use crate::defaults::set_zero;
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { default: |o| set_zero(o, "type", "Opaque"), ..Kind::PLAIN };
