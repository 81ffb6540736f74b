//! IngressClass: which controller serves an ingress.

use crate::defaults::{set, within};
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind {
    generation: true,
    default: |o| within(o, "spec.parameters", |p| set(p, "scope", "Cluster")),
    ..Kind::CLUSTER
};
