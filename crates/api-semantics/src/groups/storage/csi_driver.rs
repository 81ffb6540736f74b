//! CSIDriver: what a storage driver can do.

use serde_json::{Value, json};

use crate::checks::{immutable, optional_one_of};
use crate::defaults::{ensure, set, set_zero};
use crate::field::{Errors, Field};
use crate::kind::Kind;

pub(crate) static KIND: Kind =
    Kind { default, unconditional_update: false, validate, validate_change, warnings, ..Kind::CLUSTER };

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

fn validate(driver: &Field, errors: &mut Errors) {
    let spec = driver.get("spec");
    for name in ["attachRequired", "podInfoOnMount", "storageCapacity"] {
        if !spec.has(name) {
            errors.required(&spec.get(name), "");
        }
    }
    let policy = spec.get("fsGroupPolicy");
    optional_one_of(&policy, &["File", "None", "ReadWriteOnceWithFSType"], errors);
    let modes = spec.get("volumeLifecycleModes");
    for mode in modes.items() {
        let at = Field::at(mode.value(), modes.path().clone());
        crate::checks::one_of(&at, &["Persistent", "Ephemeral"], errors);
    }
    let mut seen = std::collections::BTreeSet::new();
    for request in spec.get("tokenRequests").items() {
        let audience = request.get("audience");
        if !seen.insert(audience.str()) {
            errors.duplicate_as(&audience, audience.str());
        }
        let expiration = request.get("expirationSeconds");
        if expiration.exists() && expiration.int_or_zero() < 600 {
            errors.invalid(&expiration, "may not specify a duration less than 10 minutes");
        } else if expiration.int_or_zero() > 1 << 32 {
            errors.invalid(&expiration, "may not specify a duration larger than 2^32 seconds");
        }
    }
}

fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    for name in ["attachRequired", "volumeLifecycleModes"] {
        immutable(&new.get("spec").get(name), &old.get("spec").get(name), errors);
    }
}

fn warnings(driver: &Field, _old: Option<&Field>, out: &mut Vec<String>) {
    let spec = driver.get("spec");
    if !spec.get("tokenRequests").is_empty() && !spec.has("serviceAccountTokenInSecrets") {
        out.push("spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes".to_owned());
    }
}
