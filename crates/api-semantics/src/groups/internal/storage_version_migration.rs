//! StorageVersionMigration: rewrites stored objects.

use crate::kind::{Kind, empty_status};

pub(crate) static KIND: Kind = Kind { initial_status: Some(empty_status), ..Kind::CLUSTER };
