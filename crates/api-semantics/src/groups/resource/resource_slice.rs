//! ResourceSlice: the devices that a driver offers.

use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { generation: true, default: super::slice_defaults, ..Kind::CLUSTER };
