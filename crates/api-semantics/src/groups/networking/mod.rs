//! The group `networking.k8s.io`.

mod ingress;
mod ingress_class;
mod ip_address;
mod network_policy;
mod service_cidr;

use crate::kind::Kind;

/// The kinds of the group, and the version that an entry is limited to.
pub(crate) static KINDS: &[(&str, Option<&str>, &Kind)] = &[
    ("Ingress", None, &ingress::KIND),
    ("IngressClass", None, &ingress_class::KIND),
    ("IPAddress", None, &ip_address::KIND),
    ("NetworkPolicy", None, &network_policy::KIND),
    ("ServiceCIDR", None, &service_cidr::KIND),
];
