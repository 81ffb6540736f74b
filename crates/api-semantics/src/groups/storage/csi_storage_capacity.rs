//! CSIStorageCapacity: space left for a class in a topology.

use serde_json::Value;

use crate::defaults::within;
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { default, ..Kind::PLAIN };

fn default(capacity: &mut Value) {}
