//! DeviceClass: a named selection of devices.

use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind {
    generation: true,
    default: |o| {
        crate::defaults::ensure(o, "spec");
    },
    validate: |o, e| super::devices::class(&o.get("spec"), e),
    ..Kind::CLUSTER
};
