//! Client certificates: the common name is the user, the organizations are the groups.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use apiserver::{
    authn::{AuthenticationError, Authenticator, PeerCertificates},
    user::UserInfo,
};
use async_trait::async_trait;
use component_base::{clock, tls};
use http::request::Parts;
use parking_lot::Mutex;
use rustls::server::{WebPkiClientVerifier, danger::ClientCertVerifier};
use rustls_pki_types::UnixTime;
use sha2::{Digest, Sha256};

/// A CA file, read again when it changes.
pub(crate) struct CertificateVerifier {
    path: PathBuf,
    current: Mutex<Loaded>,
    verified: Mutex<HashMap<Digest32, Verified>>,
}

/// For so long a certificate is not verified again: a signature costs as much as ten requests.
const TRUSTED: Duration = Duration::from_secs(10);
const MOST_VERIFIED: usize = 10_000;

type Digest32 = [u8; 32];

/// A leaf that was found good, by the CA that the verifier stands for.
struct Verified {
    until: jiff::Timestamp,
    by: Arc<dyn ClientCertVerifier>,
}

struct Loaded {
    verifier: Arc<dyn ClientCertVerifier>,
    modified: Option<SystemTime>,
}

// === impl CertificateVerifier ===

impl CertificateVerifier {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        Ok(Self { path: path.to_owned(), current: Mutex::new(load(path)?), verified: Mutex::default() })
    }

    fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        let mut current = self.current.lock();
        if modified(&self.path) != current.modified {
            match load(&self.path) {
                Ok(loaded) => *current = loaded,
                Err(error) => tracing::warn!(path = %self.path.display(), %error, "keeping the old client CA"),
            }
        }
        current.verifier.clone()
    }

    /// What the client presented, verified; `None` if it presented nothing.
    pub(crate) fn verify(&self, request: &Parts) -> Result<Option<PeerCertificates>, AuthenticationError> {
        let Some(presented) = request.extensions.get::<PeerCertificates>() else { return Ok(None) };
        let Some((leaf, intermediates)) = presented.0.split_first() else { return Ok(None) };
        let verifier = self.verifier();
        let now = clock::now();
        let key: Digest32 = Sha256::digest(leaf).into();
        if self.verified.lock().get(&key).is_some_and(|known| known.until > now && Arc::ptr_eq(&known.by, &verifier)) {
            return Ok(Some(presented.clone()));
        }
        verifier
            .verify_client_cert(leaf, intermediates, UnixTime::since_unix_epoch(seconds(&now)))
            .map_err(|error| AuthenticationError(format!("client certificate: {error}")))?;
        let mut verified = self.verified.lock();
        if verified.len() >= MOST_VERIFIED {
            verified.clear();
        }
        verified.insert(key, Verified { until: now + TRUSTED, by: verifier });
        Ok(Some(presented.clone()))
    }
}

fn seconds(at: &jiff::Timestamp) -> Duration {
    Duration::from_secs(at.as_second().unsigned_abs())
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|metadata| metadata.modified()).ok()
}

fn load(path: &Path) -> anyhow::Result<Loaded> {
    let modified = modified(path);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = Arc::new(tls::read_roots(path)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build()?;
    Ok(Loaded { verifier, modified })
}

/// `--client-ca-file`.
pub(crate) struct ClientCertificates(pub CertificateVerifier);

#[async_trait]
impl Authenticator for ClientCertificates {
    async fn authenticate(&self, request: &Parts) -> Result<Option<UserInfo>, AuthenticationError> {
        let Some(chain) = self.0.verify(request)? else { return Ok(None) };
        let Some(subject) = chain.subject() else { return Ok(None) };
        let digest = Sha256::digest(&chain.0[0]);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let credential = ("authentication.kubernetes.io/credential-id".to_owned(), vec![format!("X509SHA256={hex}")]);
        Ok(Some(UserInfo {
            name: subject.common_name,
            groups: subject.organizations,
            extra: [credential].into(),
            ..UserInfo::default()
        }))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

    use super::*;

    fn ca() -> (String, Issuer<'static, KeyPair>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        (pem, Issuer::new(params, key))
    }

    fn request(issuer: &Issuer<'static, KeyPair>) -> Parts {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "system:node:n1");
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = params.signed_by(&key, issuer).unwrap().der().to_vec();
        let mut parts = http::Request::new(()).into_parts().0;
        parts.extensions.insert(PeerCertificates([leaf.into()].into()));
        parts
    }

    #[tokio::test]
    async fn a_certificate_of_the_ca_names_the_user_and_another_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.crt");
        let ((pem, issuer), (_, stranger)) = (ca(), ca());
        std::fs::write(&path, pem).unwrap();
        let certificates = ClientCertificates(CertificateVerifier::open(&path).unwrap());
        let user = certificates.authenticate(&request(&issuer)).await.unwrap().unwrap();
        assert_eq!((&*user.name, &*user.groups), ("system:node:n1", &["system:nodes".to_owned()][..]));
        assert!(certificates.authenticate(&request(&stranger)).await.is_err());
        let again = request(&issuer);
        assert!(certificates.authenticate(&again).await.is_ok());
        // A CA that is replaced counts no more, also for those that were found good a moment ago.
        let (pem, _) = ca();
        std::fs::write(&path, pem).unwrap();
        std::fs::File::open(&path).unwrap().set_modified(SystemTime::now() + Duration::from_secs(5)).unwrap();
        assert!(certificates.authenticate(&again).await.is_err());
        let nothing = http::Request::new(()).into_parts().0;
        assert_eq!(certificates.authenticate(&nothing).await.unwrap(), None);
    }
}
