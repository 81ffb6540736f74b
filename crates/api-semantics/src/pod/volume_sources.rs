//! Validation of the volume sources that pods and persistent volumes share.

use super::volumes::{descending_path, no_backsteps};
use crate::checks::{in_range, optional_one_of, required};
use crate::field::{Errors, Field};
use crate::names;
use crate::quantity;

/// Every volume source, in the order in which upstream looks at them.
pub(crate) const SOURCES: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// What must be there, per source, when nothing else is said.
const REQUIRED: &[(&str, &[&str])] = &[
    ("gitRepo", &["repository"]),
    ("gcePersistentDisk", &["pdName"]),
    ("awsElasticBlockStore", &["volumeID"]),
    ("glusterfs", &["endpoints", "path"]),
    ("persistentVolumeClaim", &["claimName"]),
    ("rbd", &["monitors", "image"]),
    ("cinder", &["volumeID"]),
    ("cephfs", &["monitors"]),
    ("quobyte", &["registry", "volume"]),
    ("flexVolume", &["driver"]),
    ("azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("image", &["reference"]),
];

/// One source, by its field's name.
pub(crate) fn validate(name: &str, source: &Field, errors: &mut Errors) {
    if let Some((_, fields)) = REQUIRED.iter().find(|(n, _)| *n == name) {
        for field in *fields {
            required(&source.get(field), errors);
        }
    }
    match name {
        "emptyDir" => {
            let limit = source.get("sizeLimit");
            if quantity::of(limit.value()).is_some_and(|q| q.is_negative()) {
                errors.forbidden(&limit, "SizeLimit field must be a valid resource quantity");
            }
        }
        "hostPath" => host_path(source, errors),
        "gitRepo" => descending_path(&source.get("directory"), errors),
        "gcePersistentDisk" | "awsElasticBlockStore" if !(0..=255).contains(&source.get("partition").int_or_zero()) => {
            errors.invalid(&source.get("partition"), "must be between 0 and 255, inclusive");
        }
        "nfs" => nfs(source, errors),
        "iscsi" => iscsi(source, errors),
        "fc" => fibre_channel(source, errors),
        "azureDisk" => {
            optional_one_of(&source.get("cachingMode"), &["None", "ReadOnly", "ReadWrite"], errors);
            optional_one_of(&source.get("kind"), &["Dedicated", "Managed", "Shared"], errors);
        }
        "csi" => {
            csi_driver(&source.get("driver"), errors);
            let secret = source.get("nodePublishSecretRef");
            if secret.exists() {
                required(&secret.get("name"), errors);
            }
        }
        "image" => optional_one_of(&source.get("pullPolicy"), &["Always", "IfNotPresent", "Never"], errors),
        _ => {}
    }
}

fn host_path(source: &Field, errors: &mut Errors) {
    let path = source.get("path");
    if path.str().is_empty() {
        errors.required(&path, "");
        return;
    }
    no_backsteps(&path, errors);
    optional_one_of(&source.get("type"), &HOST_PATH_TYPES, errors);
}

fn nfs(source: &Field, errors: &mut Errors) {
    required(&source.get("server"), errors);
    let path = source.get("path");
    required(&path, errors);
    if !path.str().starts_with('/') {
        errors.invalid_str(&path, "must be an absolute path");
    }
}

fn iscsi(source: &Field, errors: &mut Errors) {
    required(&source.get("targetPortal"), errors);
    let iqn = source.get("iqn");
    if iqn.str().is_empty() {
        errors.required(&iqn, "");
    } else if !["iqn", "eui", "naa"].iter().any(|p| iqn.str().starts_with(p)) {
        errors.invalid(&iqn, "must be valid format starting with iqn, eui, or naa");
    }
    if source.exists() && !(0..=255).contains(&source.get("lun").int_or_zero()) {
        in_range(&source.get("lun"), 0, 255, errors);
    }
    let chap = source.bool_of("chapAuthDiscovery") || source.bool_of("chapAuthSession");
    if chap && !source.has("secretRef") {
        errors.required(&source.get("secretRef"), "");
    }
}

fn fibre_channel(source: &Field, errors: &mut Errors) {
    let (targets, wide) = (source.get("targetWWNs"), source.get("wwids"));
    match (targets.is_empty(), wide.is_empty()) {
        (true, true) => errors.required(&targets, "must specify either targetWWNs or wwids, but not both"),
        (false, false) => errors.invalid(&targets, "targetWWNs and wwids can not be specified simultaneously"),
        (false, true) if !source.has("lun") => {
            errors.required(&source.get("lun"), "lun is required if targetWWNs is specified");
        }
        (false, true) => in_range(&source.get("lun"), 0, 255, errors),
        _ => {}
    }
}

/// The name of a CSI driver.
pub(crate) fn csi_driver(driver: &Field, errors: &mut Errors) {
    if driver.str().is_empty() {
        errors.required(driver, "");
        return;
    }
    if driver.len() > 63 {
        errors.too_long(driver, 63);
    }
    errors.invalid_each(driver, names::dns1123_subdomain(&driver.str().to_lowercase()));
}
