//! PodCertificateRequest: a certificate for a pod.

use crate::defaults::set;
use crate::kind::{Kind, empty_status};

pub(crate) static KIND: Kind = Kind {
    initial_status: Some(empty_status),
    default: |o| set(crate::defaults::ensure(o, "spec"), "maxExpirationSeconds", 86400),
    ..Kind::PLAIN
};
