//! StorageClass: how volumes are provisioned.

use serde_json::Value;

use crate::defaults::set;
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { default, ..Kind::CLUSTER };

fn default(class: &mut Value) {
    set(class, "reclaimPolicy", "Delete");
    set(class, "volumeBindingMode", "Immediate");
}
