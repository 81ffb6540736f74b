//! CSINode: the storage drivers of a node.

use std::collections::BTreeSet;

use crate::field::{Errors, Field};
use crate::kind::Kind;
use crate::names;
use crate::pod::volume_sources::csi_driver;

pub(crate) static KIND: Kind = Kind { unconditional_update: false, validate, ..Kind::CLUSTER };

fn validate(node: &Field, errors: &mut Errors) {
    let mut names_seen = BTreeSet::new();
    for driver in node.dig("spec.drivers").items() {
        let (name, id) = (driver.get("name"), driver.get("nodeID"));
        csi_driver(&name, errors);
        if id.str().is_empty() {
            errors.required(&id, "");
        } else if id.len() > 256 {
            errors.invalid(&id, "must be 256 characters or less");
        }
        let count = driver.dig("allocatable.count");
        crate::checks::non_negative(&count, errors);
        if !names_seen.insert(name.str()) && !name.str().is_empty() {
            errors.duplicate(&name);
        }
        topology_keys(&driver, errors);
    }
}

/// Upstream shows bad keys at the driver.
fn topology_keys(driver: &Field, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for key in driver.get("topologyKeys").items() {
        if key.str().is_empty() {
            errors.required(driver, "");
        }
        if !seen.insert(key.str()) {
            errors.duplicate_as(driver, key.str());
        }
        for message in names::qualified_name(key.str()) {
            errors.invalid_as(driver, key.str(), message);
        }
    }
}
