//! What others need to verify our tokens: the OpenID provider document and the keys.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::json;

use super::{IssuerConfig, VerificationKeys};

/// The documents by path.
#[derive(Default)]
pub(crate) struct Discovery(BTreeMap<&'static str, Bytes>);

const CONFIGURATION: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/openid/v1/jwks";

impl Discovery {
    /// Only for an issuer that is an HTTPS URL: nobody could find the documents of another.
    pub(crate) fn new(config: &IssuerConfig, keys: &VerificationKeys) -> Self {
        let Some(issuer) = config.issuers.first().filter(|issuer| issuer.starts_with("https://")) else {
            return Self::default();
        };
        let uri = match config.jwks_uri.as_str() {
            "" => format!("{}{KEYS}", issuer.trim_end_matches('/')),
            uri => uri.to_owned(),
        };
        let configuration = json!({
            "issuer": issuer,
            "jwks_uri": uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": keys.algorithms(),
        });
        Self(BTreeMap::from([
            (CONFIGURATION, configuration.to_string().into()),
            (KEYS, keys.jwks().to_string().into()),
        ]))
    }

    /// The document and its media type.
    pub(crate) fn get(&self, path: &str) -> Option<(Bytes, &'static str)> {
        let document = self.0.get(path)?.clone();
        Some((document, if path == KEYS { "application/jwk-set+json" } else { "application/json" }))
    }
}
