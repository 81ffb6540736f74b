//! Event (core): a report of something that happened.

use serde_json::{Value, json};

use crate::defaults::{ensure, set};
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { default, create_on_update: true, ..Kind::PLAIN };

fn default(event: &mut Value) {
    ensure(event, "involvedObject");
    ensure(event, "source");
    for key in ["firstTimestamp", "lastTimestamp", "eventTime"] {
        set(event, key, Value::Null);
    }
    for key in ["reportingComponent", "reportingInstance"] {
        set(event, key, json!(""));
    }
}
