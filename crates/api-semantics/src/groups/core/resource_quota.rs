//! ResourceQuota: limits on what a namespace uses.

use serde_json::Value;

use crate::defaults::{ensure, within};
use crate::kind::{Kind, empty_status};

pub(crate) static KIND: Kind = Kind { initial_status: Some(empty_status), default, ..Kind::PLAIN };

fn default(quota: &mut Value) {
    within(ensure(quota, "spec"), "hard", crate::quantity::canonicalize_list);
    let status = ensure(quota, "status");
    within(status, "hard", crate::quantity::canonicalize_list);
    within(status, "used", crate::quantity::canonicalize_list);
}
