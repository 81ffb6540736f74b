//! `--requestheader-*`: a front proxy that has authenticated the user says who it is, and proves with its own client
//! certificate that it is the proxy.

use std::path::PathBuf;

use apiserver::{
    authn::{AuthenticationError, Authenticator},
    user::UserInfo,
};
use async_trait::async_trait;
use http::{HeaderMap, request::Parts};
use percent_encoding::percent_decode_str;

use super::CertificateVerifier;

/// The flags.
#[derive(Clone, Debug, Default)]
pub struct RequestHeaderConfig {
    pub client_ca_file: PathBuf,
    /// Common names of the proxy's certificate; empty: any.
    pub allowed_names: Vec<String>,
    pub username_headers: Vec<String>,
    pub uid_headers: Vec<String>,
    pub group_headers: Vec<String>,
    pub extra_header_prefixes: Vec<String>,
}

pub(crate) struct RequestHeaders {
    config: RequestHeaderConfig,
    verifier: CertificateVerifier,
}

// === impl RequestHeaders ===

impl RequestHeaders {
    pub(crate) fn new(config: RequestHeaderConfig) -> anyhow::Result<Self> {
        let verifier = CertificateVerifier::open(&config.client_ca_file)?;
        Ok(Self { config, verifier })
    }
}

#[async_trait]
impl Authenticator for RequestHeaders {
    async fn authenticate(&self, request: &Parts) -> Result<Option<UserInfo>, AuthenticationError> {
        let Some(user) = user(&self.config, &request.headers) else { return Ok(None) };
        let Some(chain) = self.verifier.verify(request)? else { return Ok(None) };
        let name = chain.subject().map(|subject| subject.common_name).unwrap_or_default();
        let allowed = &self.config.allowed_names;
        if !allowed.is_empty() && !allowed.contains(&name) {
            return Err(AuthenticationError(format!("front proxy certificate of {name:?} is not allowed")));
        }
        Ok(Some(user))
    }
}

fn user(config: &RequestHeaderConfig, headers: &HeaderMap) -> Option<UserInfo> {
    let first = |names: &[String]| names.iter().find_map(|name| values(headers, name).next());
    let mut user = UserInfo {
        name: first(&config.username_headers).filter(|name| !name.is_empty())?,
        uid: first(&config.uid_headers).unwrap_or_default(),
        ..UserInfo::default()
    };
    user.groups = config.group_headers.iter().flat_map(|name| values(headers, name)).collect();
    for prefix in &config.extra_header_prefixes {
        for name in headers.keys() {
            let Some(key) = name.as_str().strip_prefix(&prefix.to_ascii_lowercase()) else { continue };
            let key = percent_decode_str(key).decode_utf8_lossy().to_ascii_lowercase();
            user.extra.entry(key).or_default().extend(values(headers, name.as_str()));
        }
    }
    Some(user)
}

fn values(headers: &HeaderMap, name: &str) -> impl Iterator<Item = String> {
    headers.get_all(name.to_ascii_lowercase()).into_iter().filter_map(|value| value.to_str().ok().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_name_the_user() {
        let config = RequestHeaderConfig {
            username_headers: vec!["X-Remote-User".into()],
            group_headers: vec!["X-Remote-Group".into()],
            extra_header_prefixes: vec!["X-Remote-Extra-".into()],
            ..RequestHeaderConfig::default()
        };
        let mut headers = HeaderMap::new();
        assert_eq!(user(&config, &headers), None);
        headers.append("x-remote-user", "ann".parse().unwrap());
        headers.append("x-remote-group", "a".parse().unwrap());
        headers.append("x-remote-group", "b".parse().unwrap());
        headers.append("x-remote-extra-example.com%2fscope", "s".parse().unwrap());
        let found = user(&config, &headers).unwrap();
        assert_eq!((&*found.name, found.groups.len()), ("ann", 2));
        assert_eq!(found.extra["example.com/scope"], ["s"]);
    }
}
