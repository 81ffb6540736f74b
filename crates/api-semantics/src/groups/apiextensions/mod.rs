//! The group `apiextensions.k8s.io`.

mod custom_resource_definition;
mod names;
mod rules;
mod schema;
mod version;

use crate::kind::Kind;

/// The kinds of the group, and the version that an entry is limited to.
pub(crate) static KINDS: &[(&str, Option<&str>, &Kind)] =
    &[("CustomResourceDefinition", None, &custom_resource_definition::KIND)];
