//! VolumeAttachment: a volume on a node.

use serde_json::{Value, json};

use crate::defaults::{ensure, set};
use crate::field::{Errors, Field};
use crate::kind::Kind;
use crate::names;
use crate::pod::volume_sources::csi_driver;

pub(crate) static KIND: Kind = Kind {
    initial_status: Some(|| json!({"attached": false})),
    status_keeps_metadata: true,
    default,
    unconditional_update: false,
    validate,
    validate_change,
    ..Kind::CLUSTER
};

fn default(attachment: &mut Value) {
    ensure(ensure(attachment, "spec"), "source");
    set(ensure(attachment, "status"), "attached", false);
}

fn validate(attachment: &Field, errors: &mut Errors) {
    let spec = attachment.get("spec");
    csi_driver(&spec.get("attacher"), errors);
    let source = spec.get("source");
    let (inline, name) = (source.get("inlineVolumeSpec"), source.get("persistentVolumeName"));
    match (inline.exists(), name.exists()) {
        (false, false) => {
            errors.required(&source, "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
        }
        (true, true) => {
            errors.forbidden(&source, "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
        }
        (false, true) => {
            if name.str().is_empty() {
                errors.required(&name, "must specify non empty persistentVolumeName");
            } else {
                errors.invalid_each(&name, names::dns1123_subdomain(name.str()));
            }
        }
        (true, false) => {}
    }
    let node = spec.get("nodeName");
    errors.invalid_each(&node, names::dns1123_subdomain(node.str()));
}

fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    crate::checks::immutable(&new.get("spec"), &old.get("spec"), errors);
}
