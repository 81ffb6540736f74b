//! CertificateApproval, CertificateSigning and CertificateSubjectRestriction: who may approve and sign for a signer, and
//! what no client certificate may say.

use apiserver::{
    admission::{Attributes, Operation, Plugin},
    authz::{self, Verdict},
    error::Result,
    meta,
    user::MASTERS,
};
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use x509_parser::prelude::FromDer;

use crate::cell::CoreCell;

const GROUP: &str = "certificates.k8s.io";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

fn is_request(attributes: &Attributes<'_>, subresource: &str) -> bool {
    let resource = attributes.resource;
    resource.group == GROUP && resource.plural == "certificatesigningrequests" && attributes.subresource == subresource
}

/// Approving needs the verb `approve`, signing the verb `sign`, on the signer.
pub(super) struct SignerAccess {
    core: CoreCell,
    name: &'static str,
    subresource: &'static str,
    verb: &'static str,
}

impl SignerAccess {
    pub(super) fn approval(core: CoreCell) -> Self {
        SignerAccess { core, name: "CertificateApproval", subresource: "approval", verb: "approve" }
    }

    pub(super) fn signing(core: CoreCell) -> Self {
        SignerAccess { core, name: "CertificateSigning", subresource: "status", verb: "sign" }
    }
}

/// Whether the user has a verb on a signer: by its name, or by all signers of its domain.
async fn is_allowed(core: &CoreCell, attributes: &Attributes<'_>, verb: &str, signer: &str) -> Result<bool> {
    let domain = signer.split('/').next().unwrap_or_default();
    for name in [signer.to_owned(), format!("{domain}/*")] {
        let asked = authz::Attributes {
            user: attributes.user.clone(),
            verb: verb.to_owned(),
            group: GROUP.to_owned(),
            version: "*".to_owned(),
            resource: "signers".to_owned(),
            name,
            is_resource: true,
            ..authz::Attributes::default()
        };
        if core.core()?.authorizer.authorize(&asked).await.verdict == Verdict::Allow {
            return Ok(true);
        }
    }
    Ok(false)
}

/// ClusterTrustBundleAttest: naming a signer in a trust bundle needs the verb `attest` on it.
pub(super) struct TrustBundleAttest(pub(super) CoreCell);

#[async_trait]
impl Plugin for TrustBundleAttest {
    fn name(&self) -> &'static str {
        "ClusterTrustBundleAttest"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        attributes.is(GROUP, "clustertrustbundles")
            && matches!(attributes.operation, Operation::Create | Operation::Update)
    }

    async fn validate(&self, attributes: &Attributes<'_>, bundle: &Value) -> Result<()> {
        let signer = meta::path_text(bundle, "spec.signerName");
        // Writes that leave the bundle as it is are the garbage collector's and the migrator's.
        let unchanged = attributes.old.is_some_and(|old| old["spec"] == bundle["spec"]);
        if signer.is_empty() || unchanged || is_allowed(&self.0, attributes, "attest", &signer).await? {
            return Ok(());
        }
        Err(attributes.forbidden(&format!("user not permitted to attest for signerName {signer:?}")))
    }
}

#[async_trait]
impl Plugin for SignerAccess {
    fn name(&self) -> &'static str {
        self.name
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Update && is_request(attributes, self.subresource)
    }

    async fn validate(&self, attributes: &Attributes<'_>, request: &Value) -> Result<()> {
        let part = |v: &Value, field: &str| v.pointer(&format!("/status/{field}")).cloned();
        let unchanged = attributes.old.is_some_and(|old| {
            part(old, "certificate") == part(request, "certificate")
                && part(old, "conditions") == part(request, "conditions")
        });
        if self.subresource == "status" && unchanged {
            return Ok(());
        }
        let signer = attributes.old.map(|old| meta::path_text(old, "spec.signerName")).unwrap_or_default();
        if is_allowed(&self.core, attributes, self.verb, &signer).await? {
            return Ok(());
        }
        Err(attributes.forbidden(&format!("user not permitted to {} requests with signerName \"{signer}\"", self.verb)))
    }
}

/// Nobody gets a client certificate of the group that may do everything.
pub(super) struct SubjectRestriction;

#[async_trait]
impl Plugin for SubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Create && is_request(attributes, "")
    }

    async fn validate(&self, attributes: &Attributes<'_>, request: &Value) -> Result<()> {
        if meta::path_text(request, "spec.signerName") != CLIENT_SIGNER {
            return Ok(());
        }
        let Some(organizations) = organizations(request) else { return Ok(()) };
        if organizations.iter().any(|o| o == MASTERS) {
            return Err(
                attributes.forbidden(&format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed"))
            );
        }
        Ok(())
    }
}

/// The organizations of the request's subject; validation has refused what can't be read.
fn organizations(request: &Value) -> Option<Vec<String>> {
    let pem = STANDARD.decode(request.pointer("/spec/request")?.as_str()?).ok()?;
    let der = rustls_pki_types::CertificateSigningRequestDer::from_pem_slice(&pem).ok()?;
    let (_, parsed) = x509_parser::certification_request::X509CertificationRequest::from_der(&der).ok()?;
    let subject = &parsed.certification_request_info.subject;
    Some(subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect())
}
