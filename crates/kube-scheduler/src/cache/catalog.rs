//! The objects beside pods and nodes that decisions read.

use std::{collections::BTreeMap, sync::Arc};

use api_types::k8s_openapi::api::{
    apps::v1::{ReplicaSet, StatefulSet},
    core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim, ReplicationController, Service},
    policy::v1::PodDisruptionBudget,
    resource::v1::{DeviceClass, ResourceClaim, ResourceSlice},
    storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment},
};

/// Objects by `namespace/name`, or by name where the kind has no namespace.
pub type Objects<K> = BTreeMap<String, Arc<K>>;

/// What else there is in the cluster.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// For namespace selectors.
    pub namespaces: Objects<Namespace>,
    /// For the default spreading.
    pub services: Objects<Service>,
    /// For the default spreading.
    pub replication_controllers: Objects<ReplicationController>,
    /// For the default spreading.
    pub replica_sets: Objects<ReplicaSet>,
    /// For the default spreading.
    pub stateful_sets: Objects<StatefulSet>,
    /// For the choice of victims.
    pub disruption_budgets: Objects<PodDisruptionBudget>,
    /// For the volume plugins.
    pub claims: Objects<PersistentVolumeClaim>,
    /// For the volume plugins.
    pub volumes: Objects<PersistentVolume>,
    /// For the volume plugins.
    pub storage_classes: Objects<StorageClass>,
    /// For volume limits.
    pub csi_nodes: Objects<CSINode>,
    /// For volume limits.
    pub attachments: Objects<VolumeAttachment>,
    /// For storage capacity.
    pub csi_drivers: Objects<CSIDriver>,
    /// For storage capacity.
    pub capacities: Objects<CSIStorageCapacity>,
    /// For devices.
    pub device_classes: Objects<DeviceClass>,
    /// For devices.
    pub resource_slices: Objects<ResourceSlice>,
    /// For devices.
    pub resource_claims: Objects<ResourceClaim>,
    /// Claims whose allocation is decided and on its way to the API server, as they will look.
    pub allocating: Objects<ResourceClaim>,
}
