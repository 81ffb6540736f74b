//! PriorityClass: how important pods are.

use serde_json::Value;

use crate::defaults::set;
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { generation: true, default, ..Kind::CLUSTER };

fn default(class: &mut Value) {
    set(class, "value", 0);
    set(class, "preemptionPolicy", "PreemptLowerPriority");
}
