//! Workload: the pod groups of an application.

use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { generation: true, ..Kind::PLAIN };
