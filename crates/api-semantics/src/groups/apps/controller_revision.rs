//! ControllerRevision: a snapshot of a controller's template.

use crate::defaults::set;
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { default: |o| set(o, "revision", 0), ..Kind::PLAIN };
