//! DeviceClass: a named selection of devices.

use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind {
    generation: true,
    default: |o| {
        crate::defaults::ensure(o, "spec");
    },
    validate: |o, e| super::devices::class(&o.get("spec"), e),
    name: long_name,
    ..Kind::CLUSTER
};

/// Upstream counts bytes here.
fn long_name(name: &str, prefix: bool) -> Vec<String> {
    let messages = crate::object_meta::dns_subdomain(name, prefix);
    messages.into_iter().map(|m| m.replace("253 characters", "253 bytes")).collect()
}
