//! Event (events.k8s.io): a report of something that happened.

use serde_json::Value;

use crate::defaults::{ensure, set};
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { default, create_on_update: true, ..Kind::PLAIN };

fn default(event: &mut Value) {
    ensure(event, "regarding");
    ensure(event, "deprecatedSource");
    set(event, "eventTime", Value::Null);
    set(event, "deprecatedFirstTimestamp", Value::Null);
    set(event, "deprecatedLastTimestamp", Value::Null);
}
