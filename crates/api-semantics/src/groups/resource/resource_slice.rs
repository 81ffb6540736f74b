//! ResourceSlice: the devices that a driver offers.

use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind {
    generation: true,
    validate: |o, e| super::slices::validate(&o.get("spec"), e),
    validate_change: super::slices::change,
    ..Kind::CLUSTER
};
