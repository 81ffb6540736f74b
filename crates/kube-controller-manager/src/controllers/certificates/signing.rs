//! Signs approved requests of Kubernetes' own signers with the cluster's CA.

use std::{path::Path, sync::Arc, time::Duration};

use api_types::k8s_openapi::{ByteString, api::certificates::v1::CertificateSigningRequest, jiff::Timestamp};
use controller_runtime::{Action, BoxError, ObjectKey, Outcome, Store, WorkQueue};
use kube::{Api, Client, ResourceExt, api::PostParams};
use rcgen::{CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    APISERVER_CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY_UNKNOWN, has_certificate, has_condition, request,
    with_condition,
};
use crate::{config::Signing, context::Context};

/// Certificates begin this much earlier: clocks differ.
const BACKDATE: i64 = 300;
/// Shorter lives are not granted.
const MIN_LIFE: i64 = 600;

struct Signer {
    client: Client,
    requests: Store<CertificateSigningRequest>,
    signing: Signing,
}

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let signing = context.shared.config.signing.clone();
    let queue = WorkQueue::new();
    let requests = context.informer::<CertificateSigningRequest>();
    requests.enqueue_to(&queue);
    let signer = Arc::new(Signer { client: context.client.clone(), requests: requests.store().clone(), signing });
    context.run(&queue, move |key| signer.clone().reconcile(key));
    Ok(())
}

impl Signer {
    async fn reconcile(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let Some(csr) = self.requests.get(&key) else { return Ok(Action::Done) };
        let open = has_condition(&csr, "Approved") && !has_condition(&csr, "Denied") && !has_condition(&csr, "Failed");
        if !open || has_certificate(&csr) {
            return Ok(Action::Done);
        }
        let pair = match csr.spec.signer_name.as_str() {
            KUBELET_CLIENT => &self.signing.kubelet_client,
            KUBELET_SERVING => &self.signing.kubelet_serving,
            APISERVER_CLIENT => &self.signing.apiserver_client,
            LEGACY_UNKNOWN => &self.signing.legacy_unknown,
            _ => return Ok(Action::Done),
        };
        let Some((cert, key_file)) = pair else { return Ok(Action::Done) };
        let api = Api::<CertificateSigningRequest>::all(self.client.clone());
        let checked = request::parse(&csr.spec.request.0).and_then(|wish| request::check(&csr.spec, &wish));
        let updated = match checked {
            Err(why) => with_condition(&csr, "Failed", "SignerValidationFailure", &why),
            Ok(()) => {
                // Read anew each time: CAs are rotated.
                let ca = Ca::read(cert, key_file)?;
                let pem = sign(&csr, &ca, self.signing.duration, component_base::clock::now())?;
                let mut signed = csr.as_ref().clone();
                signed.status.get_or_insert_default().certificate = Some(ByteString(pem.into_bytes()));
                signed
            }
        };
        api.replace_status(&csr.name_any(), &PostParams::default(), &updated).await?;
        tracing::info!(request = %csr.name_any(), signer = %csr.spec.signer_name, "signed");
        Ok(Action::Done)
    }
}

/// A certificate authority.
pub(super) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    not_after: Timestamp,
}

impl Ca {
    fn read(cert: &Path, key: &Path) -> Result<Self, BoxError> {
        let read = |path: &Path| {
            std::fs::read_to_string(path)
                .map_err(|error| BoxError::from(format!("cannot read {}: {error}", path.display())))
        };
        Self::from_pem(&read(cert)?, &read(key)?)
    }

    pub(super) fn from_pem(cert: &str, key: &str) -> Result<Self, BoxError> {
        let (_, pem) = x509_parser::pem::parse_x509_pem(cert.as_bytes())?;
        let (_, parsed) = X509Certificate::from_der(&pem.contents)?;
        let not_after = Timestamp::from_second(parsed.validity().not_after.timestamp())?;
        Ok(Self { issuer: Issuer::from_ca_cert_pem(cert, KeyPair::from_pem(key)?)?, not_after })
    }
}

/// How long the certificate lives: what is asked for, within the signer's and the CA's limits.
pub(super) fn life(asked: Option<i32>, longest: Duration, ca: Timestamp, now: Timestamp) -> (Timestamp, Timestamp) {
    let longest = i64::try_from(longest.as_secs()).unwrap_or(i64::MAX);
    let seconds = asked.map_or(longest, |asked| i64::from(asked).clamp(MIN_LIFE.min(longest), longest));
    let at = |seconds: i64| Timestamp::from_second(seconds).unwrap_or(ca);
    let backdate = if seconds <= 8 * BACKDATE { seconds / 8 } else { BACKDATE };
    (at(now.as_second() - backdate), at(now.as_second().saturating_add(seconds) - backdate).min(ca))
}

/// The signed certificate in PEM.
pub(super) fn sign(
    csr: &CertificateSigningRequest,
    ca: &Ca,
    longest: Duration,
    now: Timestamp,
) -> Result<String, BoxError> {
    let text = String::from_utf8(csr.spec.request.0.clone())?;
    let mut params = CertificateSigningRequestParams::from_pem(&text)?;
    let (from, to) = life(csr.spec.expiration_seconds, longest, ca.not_after, now);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let at = |time: Timestamp| epoch + Duration::from_secs(u64::try_from(time.as_second()).unwrap_or_default());
    (params.params.not_before, params.params.not_after) = (at(from), at(to));
    params.params.is_ca = IsCa::ExplicitNoCa;
    params.params.use_authority_key_identifier_extension = true;
    let usages = || csr.spec.usages.iter().flatten().map(String::as_str);
    params.params.key_usages = usages().filter_map(key_usage).collect();
    params.params.extended_key_usages = usages().filter_map(extended_usage).collect();
    Ok(params.signed_by(&ca.issuer)?.pem())
}

fn key_usage(usage: &str) -> Option<KeyUsagePurpose> {
    Some(match usage {
        "signing" | "digital signature" => KeyUsagePurpose::DigitalSignature,
        "content commitment" => KeyUsagePurpose::ContentCommitment,
        "key encipherment" => KeyUsagePurpose::KeyEncipherment,
        "data encipherment" => KeyUsagePurpose::DataEncipherment,
        "key agreement" => KeyUsagePurpose::KeyAgreement,
        _ => return None,
    })
}

fn extended_usage(usage: &str) -> Option<ExtendedKeyUsagePurpose> {
    Some(match usage {
        "any" => ExtendedKeyUsagePurpose::Any,
        "server auth" => ExtendedKeyUsagePurpose::ServerAuth,
        "client auth" => ExtendedKeyUsagePurpose::ClientAuth,
        "code signing" => ExtendedKeyUsagePurpose::CodeSigning,
        "email protection" => ExtendedKeyUsagePurpose::EmailProtection,
        "timestamping" => ExtendedKeyUsagePurpose::TimeStamping,
        "ocsp signing" => ExtendedKeyUsagePurpose::OcspSigning,
        _ => return None,
    })
}
