//! FlowSchema: which requests go to which priority level.

use serde_json::Value;

use crate::defaults::{ensure, set_zero};
use crate::kind::{Kind, empty_status};

pub(crate) static KIND: Kind = Kind { generation: true, initial_status: Some(empty_status), default, ..Kind::CLUSTER };

fn default(schema: &mut Value) {
    ensure(schema, "status");
    let spec = ensure(schema, "spec");
    ensure(spec, "priorityLevelConfiguration");
    set_zero(spec, "matchingPrecedence", 1000);
}
