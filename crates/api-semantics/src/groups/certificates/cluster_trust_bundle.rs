//! ClusterTrustBundle: X.509 trust anchors.

use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { ..Kind::CLUSTER };
