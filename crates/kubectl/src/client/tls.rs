//! TLS settings of the connection to the API server.

use std::sync::Arc;

pub(super) use component_base::tls::describe;
use component_base::tls::{AnyServer, system_roots};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::provider;
use crate::error::{Error, Result};
use crate::kubeconfig::Settings;

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
    if let Some(ca) = &settings.ca {
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca) {
            store
                .add(certificate.map_err(|e| broken("certificate-authority", e))?)
                .map_err(|e| broken("certificate-authority", e))?;
        }
        return Ok(store);
    }
    Ok(system_roots())
}
