//! TLS: servers' certificates from files (re-read when they change) or self-signed, whose certificates are accepted from clients and
//! servers.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use parking_lot::Mutex;
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    client::{
        ResolvesClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    server::{
        ClientHello, ResolvesServerCert, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("read {path}")]
    Read {
        path: String,
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    #[error("write {path}")]
    Write {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("certificate or key of {path}")]
    Key {
        path: String,
        #[source]
        source: rustls::Error,
    },
    #[error("client CA {path}")]
    ClientCa {
        path: String,
        #[source]
        source: rustls::server::VerifierBuilderError,
    },
    #[error("{path} holds no certificate")]
    Empty { path: String },
    #[error("self-signed certificate")]
    SelfSigned(#[source] rcgen::Error),
}

/// The certificates that a client presented in the TLS handshake, leaf first. Whether they were verified is up to how the server is set
/// up ([`ClientCertificates`]).
#[derive(Clone, Debug)]
pub struct PeerCertificates(pub Arc<[CertificateDer<'static>]>);

/// Who a client certificate names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub common_name: String,
    pub organizations: Vec<String>,
}

impl PeerCertificates {
    /// The leaf's subject; `None` if it can't be parsed or has no common name.
    pub fn subject(&self) -> Option<Subject> {
        let (_, certificate) = x509_parser::parse_x509_certificate(self.0.first()?).ok()?;
        let subject = certificate.subject();
        let common_name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let organizations = subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
        Some(Subject { common_name, organizations })
    }
}

/// All certificates of a PEM file.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Read { path: path.display().to_string(), source };
    let list: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)?;
    if list.is_empty() { Err(TlsError::Empty { path: path.display().to_string() }) } else { Ok(list) }
}

/// The CA certificates of a PEM file as roots of trust.
pub fn read_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(read_certificates(path)?);
    Ok(roots)
}

/// Where distributions keep the authorities that the system trusts.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The authorities that the system trusts; none where it has no file of them.
pub fn system_roots() -> RootCertStore {
    let file = SYSTEM_ROOTS.iter().map(Path::new).find(|file| file.exists());
    file.and_then(|file| read_roots(file).ok()).unwrap_or_else(RootCertStore::empty)
}

/// A TLS failure in the words that upstream's users know.
pub fn describe(error: &rustls::Error) -> String {
    use rustls::CertificateError as Bad;
    match error {
        // A signature is bad when an authority has the right name and another key.
        rustls::Error::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature) => {
            "tls: failed to verify certificate: x509: certificate signed by unknown authority".to_owned()
        }
        rustls::Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            "tls: failed to verify certificate: x509: certificate has expired or is not yet valid".to_owned()
        }
        rustls::Error::InvalidCertificate(other) => format!("tls: failed to verify certificate: x509: {other}"),
        other => format!("tls: {other}"),
    }
}

/// Which certificates clients may present to a server. None has to.
#[derive(Clone, Copy, Debug)]
pub enum ClientCertificates<'a> {
    /// They are not asked for.
    Ignored,
    /// Signed by a CA of this file.
    SignedBy(&'a Path),
    /// Any whose key the client has. Whom they are signed by the server finds out for each request, so that a wrong one is answered
    /// (401) instead of breaking the connection, and CA files may change.
    Any,
}

impl<'a> From<Option<&'a Path>> for ClientCertificates<'a> {
    /// By the file of a CA, if there is one.
    fn from(ca: Option<&'a Path>) -> Self {
        ca.map_or(ClientCertificates::Ignored, ClientCertificates::SignedBy)
    }
}

/// The TLS set-up of a server: certificate and key are read again when the files change. ALPN offers HTTP/2 and HTTP/1.1.
pub fn server_config(cert: &Path, key: &Path, clients: ClientCertificates<'_>) -> Result<ServerConfig, TlsError> {
    crate::kubeconfig::install_crypto_provider();
    let resolver = Arc::new(Reloading::new(cert, key)?);
    let builder = ServerConfig::builder();
    let builder = match clients {
        ClientCertificates::Ignored => builder.with_no_client_auth(),
        ClientCertificates::SignedBy(path) => {
            let failed = |source| TlsError::ClientCa { path: path.display().to_string(), source };
            let verifier = WebPkiClientVerifier::builder(Arc::new(read_roots(path)?))
                .allow_unauthenticated()
                .build()
                .map_err(failed)?;
            builder.with_client_cert_verifier(verifier)
        }
        ClientCertificates::Any => {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            builder.with_client_cert_verifier(Arc::new(AnyClient(provider)))
        }
    };
    let mut config = builder.with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Lets a server have any certificate: for those whom nobody can or wants to verify. Signatures are not looked at either: who can put
/// itself between can sign with a certificate of its own, and checking them would refuse old forms of certificates.
#[derive(Debug)]
pub struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Lets a client have any certificate whose key it has.
#[derive(Debug)]
struct AnyClient(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Makes a self-signed pair `NAME.crt`, `NAME.key` in `dir` unless it is there, and returns the paths.
pub fn self_signed(dir: &Path, name: &str, hosts: &[String]) -> Result<(PathBuf, PathBuf), TlsError> {
    let (cert, key) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
    if cert.exists() && key.exists() {
        return Ok((cert, key));
    }
    let signed = rcgen::generate_simple_self_signed(hosts.to_vec()).map_err(TlsError::SelfSigned)?;
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |source| TlsError::Write { path, source }
    };
    fs::create_dir_all(dir).map_err(failed(dir))?;
    fs::write(&cert, signed.cert.pem()).map_err(failed(&cert))?;
    write_private(&key, &signed.signing_key.serialize_pem()).map_err(failed(&key))?;
    Ok((cert, key))
}

/// Names for a self-signed certificate that serves on `address`.
pub fn self_signed_hosts(address: IpAddr) -> Vec<String> {
    let mut hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    if !address.is_unspecified() && !address.is_loopback() {
        hosts.push(address.to_string());
    }
    hosts
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

/// Serves the pair of files, and reads it again when the certificate's modification time changes.
#[derive(Debug)]
struct Reloading {
    cert: PathBuf,
    key: PathBuf,
    current: Mutex<(Option<SystemTime>, Arc<CertifiedKey>)>,
}

impl Reloading {
    fn new(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let current = (modified(cert), load_key(cert, key)?);
        Ok(Reloading { cert: cert.to_owned(), key: key.to_owned(), current: Mutex::new(current) })
    }
}

/// A client's certificate and key, which are read again when the files change.
///
/// # Errors
/// The files can't be read.
pub fn client_certificate(cert: &Path, key: &Path) -> Result<Arc<dyn ResolvesClientCert>, TlsError> {
    Ok(Arc::new(Reloading::new(cert, key)?))
}

impl ResolvesServerCert for Reloading {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl ResolvesClientCert for Reloading {
    fn resolve(&self, _authorities: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl Reloading {
    fn current(&self) -> Arc<CertifiedKey> {
        let mut current = self.current.lock();
        let stamp = modified(&self.cert);
        if stamp.is_some() && stamp != current.0 {
            match load_key(&self.cert, &self.key) {
                Ok(key) => *current = (stamp, key),
                Err(error) => tracing::warn!(%error, "new certificate is unusable: keeping the old one"),
            }
        }
        current.1.clone()
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|m| m.modified()).ok()
}

fn load_key(cert: &Path, key: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = read_certificates(cert)?;
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|source| TlsError::Read { path: key.display().to_string(), source })?;
    CertifiedKey::from_der(chain, private, &rustls::crypto::ring::default_provider())
        .map(Arc::new)
        .map_err(|source| TlsError::Key { path: cert.display().to_string(), source })
}
