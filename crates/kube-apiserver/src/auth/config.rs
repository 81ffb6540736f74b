//! What authentication and authorization are configured with, read from upstream's flags.

use std::{path::PathBuf, time::Duration};

use anyhow::{bail, ensure};
use component_base::flags::Flags;

use super::{
    authenticate::RequestHeaderConfig,
    service_account::{IssuerConfig, MAX_EXPIRATION},
};

/// One entry of `--authorization-mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Node,
    Rbac,
    AlwaysAllow,
    AlwaysDeny,
}

/// The configuration of [`super::Auth`].
#[derive(Clone, Debug)]
pub struct AuthConfig {
    pub client_ca_file: Option<PathBuf>,
    pub token_auth_file: Option<PathBuf>,
    pub request_header: Option<RequestHeaderConfig>,
    pub bootstrap_tokens: bool,
    /// Whether requests without credentials are let in as `system:anonymous`.
    pub anonymous: bool,
    pub issuer: IssuerConfig,
    pub service_account_key_files: Vec<PathBuf>,
    pub service_account_signing_key_file: Option<PathBuf>,
    pub modes: Vec<Mode>,
}

impl AuthConfig {
    /// Whether some way of authentication is by client certificate.
    pub(crate) fn asks_for_certificates(&self) -> bool {
        self.client_ca_file.is_some() || self.request_header.is_some()
    }
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            client_ca_file: None,
            token_auth_file: None,
            request_header: None,
            bootstrap_tokens: false,
            anonymous: true,
            issuer: IssuerConfig::default(),
            service_account_key_files: Vec::new(),
            service_account_signing_key_file: None,
            modes: vec![Mode::Node, Mode::Rbac],
        }
    }
}

impl AuthConfig {
    /// Reads the flags; an error is one line for the user.
    pub fn from_flags(flags: &Flags) -> anyhow::Result<Self> {
        for other in [
            "authentication-config",
            "authentication-token-webhook-config-file",
            "authorization-config",
            "authorization-webhook-config-file",
            "authorization-policy-file",
            "service-account-signing-endpoint",
        ] {
            ensure!(flags.opt(other).is_none(), "--{other} is not supported yet");
        }
        let path = |name: &str| flags.opt(name).map(PathBuf::from);
        let config = Self {
            client_ca_file: path("client-ca-file"),
            token_auth_file: path("token-auth-file"),
            request_header: path("requestheader-client-ca-file").map(|file| request_header(flags, file)),
            bootstrap_tokens: flags.bool("enable-bootstrap-token-auth"),
            anonymous: flags.bool("anonymous-auth"),
            issuer: issuer(flags)?,
            service_account_key_files: flags.list("service-account-key-file").into_iter().map(PathBuf::from).collect(),
            service_account_signing_key_file: path("service-account-signing-key-file"),
            modes: modes(&flags.list("authorization-mode"))?,
        };
        if config.service_account_signing_key_file.is_some() {
            ensure!(!config.issuer.issuers.is_empty(), "--service-account-issuer is needed to issue tokens");
        }
        Ok(config)
    }
}

fn request_header(flags: &Flags, client_ca_file: PathBuf) -> RequestHeaderConfig {
    RequestHeaderConfig {
        client_ca_file,
        allowed_names: flags.list("requestheader-allowed-names"),
        username_headers: flags.list("requestheader-username-headers"),
        uid_headers: flags.list("requestheader-uid-headers"),
        group_headers: flags.list("requestheader-group-headers"),
        extra_header_prefixes: flags.list("requestheader-extra-headers-prefix"),
    }
}

fn issuer(flags: &Flags) -> anyhow::Result<IssuerConfig> {
    let issuers = flags.list("service-account-issuer");
    let audiences = flags.list("api-audiences");
    let max = flags.opt("service-account-max-token-expiration").map(|_| {
        let max = flags.duration("service-account-max-token-expiration");
        let bounds = Duration::from_secs(3600)..=MAX_EXPIRATION;
        ensure!(
            max.is_zero() || bounds.contains(&max),
            "--service-account-max-token-expiration must be between 1 hour and 2^32 seconds"
        );
        Ok(max)
    });
    Ok(IssuerConfig {
        audiences: if audiences.is_empty() { issuers.clone() } else { audiences },
        issuers,
        max_expiration: max.transpose()?.filter(|max| !max.is_zero()),
        extend_expiration: flags.bool("service-account-extend-token-expiration"),
        jwks_uri: flags.get("service-account-jwks-uri").to_owned(),
    })
}

/// Without the flag, permissions are on: unlike upstream, which lets everybody do everything then.
fn modes(names: &[String]) -> anyhow::Result<Vec<Mode>> {
    let mut modes = Vec::new();
    for name in names {
        let mode = match name.as_str() {
            "Node" => Mode::Node,
            "RBAC" => Mode::Rbac,
            "AlwaysAllow" => Mode::AlwaysAllow,
            "AlwaysDeny" => Mode::AlwaysDeny,
            "ABAC" | "Webhook" => bail!("--authorization-mode={name} is not supported yet"),
            other => bail!("--authorization-mode: unknown mode {other:?}"),
        };
        ensure!(!modes.contains(&mode), "--authorization-mode: {name} is given twice");
        modes.push(mode);
    }
    Ok(if modes.is_empty() { AuthConfig::default().modes } else { modes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_checked() {
        let parse = |names: &[&str]| modes(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(parse(&[]).unwrap(), [Mode::Node, Mode::Rbac]);
        assert_eq!(parse(&["RBAC", "Node"]).unwrap(), [Mode::Rbac, Mode::Node]);
        for bad in [&["Webhook"][..], &["rbac"], &["RBAC", "RBAC"]] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
