//! What a PKCS#10 request asks for, and whether a signer may grant it. Pure.

use std::collections::BTreeSet;

use api_types::k8s_openapi::api::certificates::v1::CertificateSigningRequestSpec;
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509CertificationRequest};

use super::{APISERVER_CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY_UNKNOWN};

const NODES: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";

/// The parts of a request that decide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) common_name: String,
    pub(super) organizations: Vec<String>,
    pub(super) dns: usize,
    pub(super) ips: usize,
    pub(super) emails: usize,
    pub(super) uris: usize,
}

/// Reads a PEM request.
pub(super) fn parse(pem: &[u8]) -> Result<Wish, String> {
    let der = CertificateSigningRequestDer::from_pem_slice(pem)
        .map_err(|error| format!("PEM block type must be CERTIFICATE REQUEST: {error}"))?;
    let (_, request) = X509CertificationRequest::from_der(&der).map_err(|error| error.to_string())?;
    let subject = &request.certification_request_info.subject;
    let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| value.as_str().unwrap_or_default().to_owned();
    let mut wish = Wish {
        common_name: subject.iter_common_name().next().map(text).unwrap_or_default(),
        organizations: subject.iter_organization().map(text).collect(),
        ..Wish::default()
    };
    for extension in request.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(names) = extension else { continue };
        for name in &names.general_names {
            match name {
                GeneralName::DNSName(_) => wish.dns += 1,
                GeneralName::IPAddress(_) => wish.ips += 1,
                GeneralName::RFC822Name(_) => wish.emails += 1,
                GeneralName::URI(_) => wish.uris += 1,
                _ => {}
            }
        }
    }
    Ok(wish)
}

/// Whether a signer may sign; the reason why not otherwise.
pub(super) fn check(spec: &CertificateSigningRequestSpec, wish: &Wish) -> Result<(), String> {
    match spec.signer_name.as_str() {
        KUBELET_CLIENT => kubelet_client(spec, wish),
        KUBELET_SERVING => kubelet_serving(spec, wish),
        APISERVER_CLIENT => usages(spec, &["client auth"], &["digital signature", "key encipherment"]),
        LEGACY_UNKNOWN => Ok(()),
        other => Err(format!("unrecognized signerName: {other}")),
    }
}

fn kubelet_client(spec: &CertificateSigningRequestSpec, wish: &Wish) -> Result<(), String> {
    node_subject(wish)?;
    if wish.dns + wish.ips + wish.emails + wish.uris > 0 {
        return Err("subject alternative names are not allowed".to_owned());
    }
    usages(spec, &["digital signature", "client auth"], &["key encipherment"])
}

fn kubelet_serving(spec: &CertificateSigningRequestSpec, wish: &Wish) -> Result<(), String> {
    node_subject(wish)?;
    if wish.emails > 0 || wish.uris > 0 {
        return Err("only DNS and IP subjectAltNames are allowed".to_owned());
    }
    if wish.dns + wish.ips == 0 {
        return Err("DNS or IP subjectAltName is required".to_owned());
    }
    if spec.username.as_deref() != Some(wish.common_name.as_str()) {
        return Err("the requesting user is not the node that the certificate is for".to_owned());
    }
    usages(spec, &["digital signature", "server auth"], &["key encipherment"])
}

fn node_subject(wish: &Wish) -> Result<(), String> {
    if wish.organizations != [NODES] {
        return Err(format!("subject organization is not {NODES}"));
    }
    if !wish.common_name.starts_with(NODE_PREFIX) {
        return Err(format!("subject common name does not begin with {NODE_PREFIX}"));
    }
    Ok(())
}

fn usages(spec: &CertificateSigningRequestSpec, required: &[&str], optional: &[&str]) -> Result<(), String> {
    let asked: BTreeSet<_> = spec.usages.iter().flatten().map(String::as_str).collect();
    let all = required.iter().all(|usage| asked.contains(usage));
    let only = asked.iter().all(|usage| required.contains(usage) || optional.contains(usage));
    if all && only { Ok(()) } else { Err(format!("usages did not match {required:?} (and optionally {optional:?})")) }
}
