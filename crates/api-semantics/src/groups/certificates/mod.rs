//! The group `certificates.k8s.io`.

mod certificate_signing_request;
mod cluster_trust_bundle;
mod pod_certificate_request;

use crate::kind::Kind;

/// The kinds of the group, and the version that an entry is limited to.
pub(crate) static KINDS: &[(&str, Option<&str>, &Kind)] = &[
    ("CertificateSigningRequest", None, &certificate_signing_request::KIND),
    ("ClusterTrustBundle", None, &cluster_trust_bundle::KIND),
    ("PodCertificateRequest", None, &pod_certificate_request::KIND),
];
