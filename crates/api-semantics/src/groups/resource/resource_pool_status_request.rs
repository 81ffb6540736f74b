//! ResourcePoolStatusRequest: asks for the state of a pool.

use crate::kind::{Kind, empty_status};

pub(crate) static KIND: Kind = Kind { generation: true, initial_status: Some(empty_status), ..Kind::CLUSTER };
