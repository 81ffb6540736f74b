//! Client certificates: the common name is the user, the organizations are the groups.

use std::{
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
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};

/// A CA file, read again when it changes.
pub(crate) struct CertificateVerifier {
    path: PathBuf,
    current: Mutex<Loaded>,
}

struct Loaded {
    verifier: Arc<dyn ClientCertVerifier>,
    modified: Option<SystemTime>,
}

// === impl CertificateVerifier ===

impl CertificateVerifier {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        Ok(Self { path: path.to_owned(), current: Mutex::new(load(path)?) })
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

    /// The verified leaf of what the client presented; `None` if it presented nothing.
    pub(crate) fn verify(&self, request: &Parts) -> Result<Option<tls::PeerCertificates>, AuthenticationError> {
        let Some(PeerCertificates(chain)) = request.extensions.get() else { return Ok(None) };
        let chain: Arc<[_]> = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
        let Some((leaf, intermediates)) = chain.split_first() else { return Ok(None) };
        let now = Duration::from_secs(clock::now().as_second().unsigned_abs());
        self.verifier()
            .verify_client_cert(leaf, intermediates, UnixTime::since_unix_epoch(now))
            .map_err(|error| AuthenticationError(format!("client certificate: {error}")))?;
        Ok(Some(tls::PeerCertificates(chain)))
    }
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
        let digest = Sha256::digest(chain.0[0].as_ref());
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
        parts.extensions.insert(PeerCertificates(Arc::new(vec![leaf])));
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
        let nothing = http::Request::new(()).into_parts().0;
        assert_eq!(certificates.authenticate(&nothing).await.unwrap(), None);
    }
}
