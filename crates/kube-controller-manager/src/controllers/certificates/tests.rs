//! Requests made, checked, signed, and thrown away.

use std::time::Duration;

use api_types::k8s_openapi::{
    ByteString,
    api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec},
    jiff::{SignedDuration, Timestamp},
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use serde_json::json;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{KUBELET_CLIENT, KUBELET_SERVING, approving, cleaner, request, signing};

fn pem(name: &str, organization: &str, sans: &[&str]) -> Vec<u8> {
    let mut params = CertificateParams::new(sans.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name.push(DnType::OrganizationName, organization);
    params.distinguished_name.push(DnType::CommonName, name);
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap().into_bytes()
}

fn csr(signer: &str, user: &str, usages: &[&str], pem: Vec<u8>) -> CertificateSigningRequest {
    CertificateSigningRequest {
        spec: CertificateSigningRequestSpec {
            request: ByteString(pem),
            signer_name: signer.to_owned(),
            username: Some(user.to_owned()),
            usages: Some(usages.iter().map(|u| (*u).to_owned()).collect()),
            ..Default::default()
        },
        ..Default::default()
    }
}

const CLIENT: &[&str] = &["digital signature", "client auth"];
const SERVER: &[&str] = &["digital signature", "key encipherment", "server auth"];

#[test]
fn signers_grant_only_what_they_are_for() {
    let node = "system:node:n1";
    let plain = || pem(node, "system:nodes", &[]);
    let named = || pem(node, "system:nodes", &["n1", "10.0.0.1"]);
    for (csr, good) in [
        (csr(KUBELET_CLIENT, "bootstrap", CLIENT, plain()), true),
        (csr(KUBELET_CLIENT, "x", SERVER, plain()), false),
        (csr(KUBELET_CLIENT, "x", CLIENT, named()), false),
        (csr(KUBELET_CLIENT, "x", CLIENT, pem("n1", "system:nodes", &[])), false),
        (csr(KUBELET_CLIENT, "x", CLIENT, pem(node, "system:masters", &[])), false),
        (csr(KUBELET_SERVING, node, SERVER, named()), true),
        (csr(KUBELET_SERVING, node, SERVER, plain()), false),
        (csr(KUBELET_SERVING, "system:node:n2", SERVER, named()), false),
        (csr("kubernetes.io/kube-apiserver-client", "u", &["client auth"], pem("u", "g", &[])), true),
        (csr("kubernetes.io/kube-apiserver-client", "u", SERVER, pem("u", "g", &[])), false),
        (csr("example.com/own", "u", CLIENT, plain()), false),
    ] {
        let result = request::parse(&csr.spec.request.0).and_then(|wish| request::check(&csr.spec, &wish));
        assert_eq!(result.is_ok(), good, "{} {:?}: {result:?}", csr.spec.signer_name, csr.spec.usages);
    }
    assert!(request::parse(b"nonsense").is_err());
}

#[test]
fn kubelets_ask_for_themselves_or_with_a_bootstrap_token() {
    let make = |user| csr(KUBELET_CLIENT, user, CLIENT, pem("system:node:n1", "system:nodes", &[]));
    let names =
        |csr: &CertificateSigningRequest| approving::permissions(csr).iter().map(|(name, _)| *name).collect::<Vec<_>>();
    assert_eq!(names(&make("system:node:n1")), ["selfnodeclient", "nodeclient"]);
    assert_eq!(names(&make("system:bootstrap:abc")), ["nodeclient"]);
    assert!(names(&super::with_condition(&make("x"), "Denied", "", "")).is_empty());
    assert!(names(&csr(KUBELET_SERVING, "x", SERVER, pem("system:node:n1", "system:nodes", &["n1"]))).is_empty());
}

#[test]
fn a_signed_certificate_says_what_was_asked_and_ends_in_time() {
    let now = component_base::clock::now();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "ca");
    let ca_cert = params.self_signed(&key).unwrap();
    let ca = signing::Ca::from_pem(&ca_cert.pem(), &key.serialize_pem()).unwrap();
    let mut csr = csr(KUBELET_SERVING, "system:node:n1", SERVER, pem("system:node:n1", "system:nodes", &["n1"]));
    csr.spec.expiration_seconds = Some(7200);
    let pem = signing::sign(&csr, &ca, Duration::from_secs(86400), now).unwrap();
    let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    let (_, cert) = X509Certificate::from_der(&block.contents).unwrap();
    let (_, ca_block) = x509_parser::pem::parse_x509_pem(ca_cert.pem().as_bytes()).map(|(r, p)| (r.len(), p)).unwrap();
    let (_, ca_parsed) = X509Certificate::from_der(&ca_block.contents).unwrap();
    cert.verify_signature(Some(ca_parsed.public_key())).unwrap();
    assert!(!cert.is_ca());
    assert!(cert.extended_key_usage().unwrap().unwrap().value.server_auth);
    assert_eq!(cert.subject().iter_common_name().next().unwrap().as_str().unwrap(), "system:node:n1");
    assert_eq!(cert.validity().not_after.timestamp(), now.as_second() + 7200 - 300);
}

#[test]
fn lives_have_limits() {
    let now = Timestamp::from_second(1_000_000).unwrap();
    let far = Timestamp::from_second(9_000_000).unwrap();
    let seconds = |asked, longest, ca| {
        let (from, to) = signing::life(asked, Duration::from_secs(longest), ca, now);
        (now.as_second() - from.as_second(), to.as_second() - now.as_second())
    };
    assert_eq!(seconds(None, 86400, far), (300, 86400 - 300));
    assert_eq!(seconds(Some(3600), 86400, far), (300, 3300));
    assert_eq!(seconds(Some(999_999), 86400, far), (300, 86400 - 300));
    assert_eq!(seconds(Some(1), 86400, far), (75, 525));
    assert_eq!(seconds(None, 86400, now + SignedDuration::from_secs(60)), (300, 60));
}

#[test]
fn old_requests_go() {
    let now: Timestamp = "2026-01-02T12:00:00Z".parse().unwrap();
    let made =
        |created: &str, condition: Option<(&str, &str)>, certificate: Option<&str>| -> CertificateSigningRequest {
            let conditions: Vec<_> = condition
                .iter()
                .map(|(type_, at)| json!({"type": type_, "status": "True", "lastUpdateTime": at}))
                .collect();
            serde_json::from_value(json!({
                "metadata": {"creationTimestamp": created}, "spec": {"request": "", "signerName": "s"},
                "status": {"conditions": conditions, "certificate": certificate}
            }))
            .unwrap()
        };
    let (hour_ago, long_ago, recent) = ("2026-01-02T10:59:00Z", "2026-01-01T11:00:00Z", "2026-01-02T11:30:00Z");
    for (csr, old) in [
        (made(recent, None, None), false),
        (made(long_ago, None, None), true),
        (made(hour_ago, Some(("Denied", hour_ago)), None), true),
        (made(hour_ago, Some(("Denied", recent)), None), false),
        (made(hour_ago, Some(("Approved", hour_ago)), Some("eA==")), true),
        (made(hour_ago, Some(("Approved", hour_ago)), None), false),
    ] {
        assert_eq!(cleaner::is_old(&csr, now), old, "{:?}", csr.status);
    }
}
