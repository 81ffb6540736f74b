//! TLS settings of the connection to the API server.

use std::sync::Arc;

use component_base::tls::AnyServer;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::provider;
use crate::error::{Error, Result};
use crate::kubeconfig::Settings;

/// Where distributions keep the authorities that the system trusts.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

fn broken(what: &str, error: impl std::fmt::Display) -> Error {
    Error::Plain(format!("unable to load {what}: {error}"))
}

/// The TLS configuration for these settings.
pub(super) fn config(settings: &Settings) -> Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| broken("TLS", e))?;
    let builder = if settings.insecure {
        // `--insecure-skip-tls-verify`: the user asked to trust whoever answers.
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer))
    } else {
        builder.with_root_certificates(roots(settings)?)
    };
    match &settings.identity {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => {
            let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
                .collect::<std::result::Result<_, _>>()
                .map_err(|e| broken("client certificate", e))?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| broken("client key", e))?;
            builder.with_client_auth_cert(chain, key).map_err(|e| broken("client certificate", e))
        }
    }
}

/// The configuration for servers without TLS: it trusts nobody.
pub(super) fn unused() -> Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| broken("TLS", e))?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn roots(settings: &Settings) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    if let Some(ca) = &settings.ca {
        for certificate in CertificateDer::pem_slice_iter(ca) {
            store
                .add(certificate.map_err(|e| broken("certificate-authority", e))?)
                .map_err(|e| broken("certificate-authority", e))?;
        }
        return Ok(store);
    }
    if let Some(file) = SYSTEM_ROOTS.iter().find(|f| std::path::Path::new(f).exists()) {
        let certificates: Vec<_> =
            CertificateDer::pem_file_iter(file).map_err(|e| broken("system roots", e))?.flatten().collect();
        store.add_parsable_certificates(certificates);
    }
    Ok(store)
}

/// A TLS failure in the words that upstream's users know.
pub(super) fn describe(error: &rustls::Error) -> String {
    use rustls::CertificateError as Bad;
    match error {
        rustls::Error::InvalidCertificate(Bad::UnknownIssuer) => {
            "tls: failed to verify certificate: x509: certificate signed by unknown authority".to_owned()
        }
        rustls::Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            "tls: failed to verify certificate: x509: certificate has expired or is not yet valid".to_owned()
        }
        rustls::Error::InvalidCertificate(other) => format!("tls: failed to verify certificate: x509: {other}"),
        other => format!("tls: {other}"),
    }
}
