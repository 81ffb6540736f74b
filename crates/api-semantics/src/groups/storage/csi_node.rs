//! CSINode: the storage drivers of a node.

use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { ..Kind::CLUSTER };
