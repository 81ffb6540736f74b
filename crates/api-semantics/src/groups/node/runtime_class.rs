//! RuntimeClass: which container runtime handler runs a pod.

use crate::defaults::within;
use crate::kind::Kind;

pub(crate) static KIND: Kind =
    Kind { default: |o| within(o, "overhead.podFixed", crate::quantity::round_list), ..Kind::CLUSTER };
