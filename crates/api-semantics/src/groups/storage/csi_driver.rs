//! CSIDriver: what a storage driver can do.

use serde_json::{Value, json};

use crate::defaults::{ensure, set, set_zero};
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { default, ..Kind::CLUSTER };

fn default(driver: &mut Value) {
    let spec = ensure(driver, "spec");
    set(spec, "attachRequired", true);
    set(spec, "podInfoOnMount", false);
    set(spec, "storageCapacity", false);
    set(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    set_zero(spec, "volumeLifecycleModes", json!(["Persistent"]));
    set(spec, "requiresRepublish", false);
    set(spec, "seLinuxMount", false);
}
