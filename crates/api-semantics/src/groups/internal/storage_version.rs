//! StorageVersion: how each API server stores a resource.

use crate::kind::{Kind, empty_status};

pub(crate) static KIND: Kind = Kind { initial_status: Some(empty_status), ..Kind::CLUSTER };
