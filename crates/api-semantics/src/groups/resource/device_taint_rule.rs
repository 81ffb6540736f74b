//! DeviceTaintRule: taints devices by a rule.

use crate::kind::{Kind, empty_status};

pub(crate) static KIND: Kind = Kind { generation: true, initial_status: Some(empty_status), ..Kind::CLUSTER };
