//! Endpoints: the addresses behind a service (deprecated by EndpointSlice).

use crate::defaults::{each, set_zero};
use crate::kind::Kind;

pub(crate) static KIND: Kind =
    Kind { default: |o| each(o, "subsets", |s| each(s, "ports", |p| set_zero(p, "protocol", "TCP"))), ..Kind::PLAIN };
