//! VolumeAttachment: a volume on a node.

use serde_json::{Value, json};

use crate::defaults::{ensure, set};
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { initial_status: Some(|| json!({"attached": false})), default, ..Kind::CLUSTER };

fn default(attachment: &mut Value) {
    ensure(ensure(attachment, "spec"), "source");
    set(ensure(attachment, "status"), "attached", false);
}
