//! The group `storage.k8s.io`.

mod csi_driver;
mod csi_node;
mod csi_storage_capacity;
mod storage_class;
mod volume_attachment;
mod volume_attributes_class;

use crate::kind::Kind;

/// The kinds of the group, and the version that an entry is limited to.
pub(crate) static KINDS: &[(&str, Option<&str>, &Kind)] = &[
    ("CSIDriver", None, &csi_driver::KIND),
    ("CSINode", None, &csi_node::KIND),
    ("CSIStorageCapacity", None, &csi_storage_capacity::KIND),
    ("StorageClass", None, &storage_class::KIND),
    ("VolumeAttachment", None, &volume_attachment::KIND),
    ("VolumeAttributesClass", None, &volume_attributes_class::KIND),
];
