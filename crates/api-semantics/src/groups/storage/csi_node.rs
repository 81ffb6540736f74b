//! CSINode: the storage drivers of a node.

use crate::defaults::{ensure, set};
use crate::kind::Kind;

pub(crate) static KIND: Kind =
    Kind { default: |o| set(ensure(o, "spec"), "drivers", serde_json::Value::Null), ..Kind::CLUSTER };
