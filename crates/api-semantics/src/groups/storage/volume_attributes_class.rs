//! VolumeAttributesClass: mutable parameters of volumes.

use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { ..Kind::CLUSTER };
