//! EndpointSlice: a part of the addresses behind a service.

use serde_json::Value;

use crate::defaults::{each, ensure, set};
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { generation: true, default, ..Kind::PLAIN };

fn default(slice: &mut Value) {
    each(slice, "endpoints", |e| {
        ensure(e, "conditions");
    });
    each(slice, "ports", |p| {
        set(p, "name", "");
        set(p, "protocol", "TCP");
    });
}
