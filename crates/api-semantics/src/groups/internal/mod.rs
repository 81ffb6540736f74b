//! The group `internal.apiserver.k8s.io`.

mod storage_version;
mod storage_version_migration;

use crate::kind::Kind;

/// The kinds of the group, and the version that an entry is limited to.
pub(crate) static KINDS: &[(&str, Option<&str>, &Kind)] = &[("StorageVersion", None, &storage_version::KIND)];

/// The kinds of `storagemigration.k8s.io`.
pub(crate) static MIGRATION_KINDS: &[(&str, Option<&str>, &Kind)] =
    &[("StorageVersionMigration", None, &storage_version_migration::KIND)];
