//! What authentication and authorization are configured with, read from upstream's flags.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use component_base::flags::Flags;

use super::{
    authenticate::RequestHeaderConfig,
    authorize::WebhookOptions,
    files::{self, JwtConfig},
    service_account::{IssuerConfig, MAX_EXPIRATION},
};

pub use apiserver::authn::Anonymous;

/// One entry of `--authorization-mode`, or of an `AuthorizationConfiguration`.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    Node,
    Rbac,
    AlwaysAllow,
    AlwaysDeny,
    /// The file of policies.
    Abac(PathBuf),
    /// The webhook's kubeconfig, and how it is asked.
    Webhook(PathBuf, WebhookOptions),
}

/// Who knows tokens that nobody else knows.
#[derive(Clone, Debug)]
pub struct TokenWebhookConfig {
    pub kubeconfig: PathBuf,
    /// `v1` or `v1beta1`.
    pub version: String,
    pub time_to_live: Duration,
}

/// The configuration of [`super::Auth`].
#[derive(Clone, Debug)]
pub struct AuthConfig {
    pub client_ca_file: Option<PathBuf>,
    pub token_auth_file: Option<PathBuf>,
    pub request_header: Option<RequestHeaderConfig>,
    pub bootstrap_tokens: bool,
    pub anonymous: Anonymous,
    /// Providers of OpenID tokens.
    pub jwt: Vec<JwtConfig>,
    pub token_webhook: Option<TokenWebhookConfig>,
    pub issuer: IssuerConfig,
    pub service_account_key_files: Vec<PathBuf>,
    pub service_account_signing_key_file: Option<PathBuf>,
    pub modes: Vec<Mode>,
    /// Where `jwt` and `modes` come from, and are read from again.
    pub authentication_file: Option<PathBuf>,
    pub authorization_file: Option<PathBuf>,
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
            anonymous: Anonymous::Always,
            jwt: Vec::new(),
            token_webhook: None,
            issuer: IssuerConfig::default(),
            service_account_key_files: Vec::new(),
            service_account_signing_key_file: None,
            modes: vec![Mode::Node, Mode::Rbac],
            authentication_file: None,
            authorization_file: None,
        }
    }
}

impl AuthConfig {
    /// Reads the flags; an error is one line for the user.
    pub fn from_flags(flags: &Flags) -> anyhow::Result<Self> {
        ensure!(
            flags.opt("service-account-signing-endpoint").is_none(),
            "--service-account-signing-endpoint is not supported yet"
        );
        let path = |name: &str| flags.opt(name).map(PathBuf::from);
        let issuer = issuer(flags)?;
        let (jwt, anonymous) = providers(flags, &issuer.issuers)?;
        let config = Self {
            client_ca_file: path("client-ca-file"),
            token_auth_file: path("token-auth-file"),
            request_header: path("requestheader-client-ca-file").map(|file| request_header(flags, file)),
            bootstrap_tokens: flags.bool("enable-bootstrap-token-auth"),
            anonymous,
            jwt,
            token_webhook: token_webhook(flags)?,
            issuer,
            service_account_key_files: flags.list("service-account-key-file").into_iter().map(PathBuf::from).collect(),
            service_account_signing_key_file: path("service-account-signing-key-file"),
            modes: match flags.opt("authorization-config") {
                Some(file) => modes_of_file(file.as_ref(), flags)?,
                None => modes(flags)?,
            },
            authentication_file: path("authentication-config"),
            authorization_file: path("authorization-config"),
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

/// The providers of tokens, and who comes without any. `own` are the issuers of the server itself.
fn providers(flags: &Flags, own: &[String]) -> anyhow::Result<(Vec<JwtConfig>, Anonymous)> {
    let by_flag = if flags.bool("anonymous-auth") { Anonymous::Always } else { Anonymous::Never };
    let by_flags = files::read_oidc_flags(flags)?;
    let Some(file) = flags.opt("authentication-config") else {
        return Ok((by_flags.into_iter().collect(), by_flag));
    };
    ensure!(by_flags.is_none(), "authentication-config file and oidc-* flags are mutually exclusive");
    let (jwt, anonymous) = files::read_authentication(file.as_ref(), own).context("--authentication-config")?;
    ensure!(
        anonymous.is_none() || !flags.is_set("anonymous-auth"),
        "anonymous-auth flag cannot be set when anonymous field is configured in authentication configuration file"
    );
    Ok((jwt, anonymous.unwrap_or(by_flag)))
}

fn token_webhook(flags: &Flags) -> anyhow::Result<Option<TokenWebhookConfig>> {
    let Some(file) = flags.opt("authentication-token-webhook-config-file") else { return Ok(None) };
    Ok(Some(TokenWebhookConfig {
        kubeconfig: file.into(),
        version: review_version(flags, "authentication-token-webhook-version")?,
        time_to_live: flags.duration("authentication-token-webhook-cache-ttl"),
    }))
}

fn authorization_webhook(flags: &Flags) -> anyhow::Result<Mode> {
    let file = flags.opt("authorization-webhook-config-file");
    let file = file.context("authorization-mode Webhook's authorization config file not passed")?;
    let options = WebhookOptions {
        version: review_version(flags, "authorization-webhook-version")?,
        authorized_ttl: flags.duration("authorization-webhook-cache-authorized-ttl"),
        unauthorized_ttl: flags.duration("authorization-webhook-cache-unauthorized-ttl"),
        timeout: Duration::from_secs(30),
        denies_on_error: false,
        conditions: Vec::new(),
    };
    Ok(Mode::Webhook(file.into(), options))
}

fn review_version(flags: &Flags, name: &str) -> anyhow::Result<String> {
    let version = flags.get(name);
    ensure!(["v1", "v1beta1"].contains(&version), "--{name}: {version:?} is neither v1 nor v1beta1");
    Ok(version.to_owned())
}

fn modes_of_file(file: &Path, flags: &Flags) -> anyhow::Result<Vec<Mode>> {
    for excluded in ["authorization-mode", "authorization-webhook-config-file", "authorization-policy-file"] {
        ensure!(!flags.is_set(excluded), "--authorization-config can't be specified with --{excluded}");
    }
    files::read_authorization(file).context("--authorization-config")
}

/// Without the flag, permissions are on: unlike upstream, which lets everybody do everything then.
fn modes(flags: &Flags) -> anyhow::Result<Vec<Mode>> {
    let names = flags.list("authorization-mode");
    let mut modes = Vec::new();
    for name in &names {
        let mode = match name.as_str() {
            "Node" => Mode::Node,
            "RBAC" => Mode::Rbac,
            "AlwaysAllow" => Mode::AlwaysAllow,
            "AlwaysDeny" => Mode::AlwaysDeny,
            "Webhook" => authorization_webhook(flags)?,
            "ABAC" => {
                let file = flags.opt("authorization-policy-file");
                Mode::Abac(file.context("authorization-mode ABAC's authorization policy file not passed")?.into())
            }
            other => bail!("--authorization-mode: unknown mode {other:?}"),
        };
        ensure!(!modes.contains(&mode), "--authorization-mode: {name} is given twice");
        modes.push(mode);
    }
    for (mode, flag) in [("Webhook", "authorization-webhook-config-file"), ("ABAC", "authorization-policy-file")] {
        let unused = flags.opt(flag).is_some() && !names.iter().any(|name| name == mode);
        ensure!(!unused, "cannot specify --{flag} without mode {mode}");
    }
    Ok(if modes.is_empty() { AuthConfig::default().modes } else { modes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_checked() {
        let parse = |args: &[&str]| {
            let flags = Flags::parse("kube-apiserver", crate::options::FLAGS, args.iter().copied()).unwrap();
            modes(&flags)
        };
        assert_eq!(parse(&[]).unwrap(), [Mode::Node, Mode::Rbac]);
        assert_eq!(parse(&["--authorization-mode=RBAC,Node"]).unwrap(), [Mode::Rbac, Mode::Node]);
        let abac = ["--authorization-mode=ABAC", "--authorization-policy-file=/p"];
        assert_eq!(parse(&abac).unwrap(), [Mode::Abac("/p".into())]);
        let webhook = ["--authorization-mode=Webhook,RBAC", "--authorization-webhook-config-file=/w"];
        assert!(matches!(parse(&webhook).unwrap().as_slice(), [Mode::Webhook(..), Mode::Rbac]));
        for bad in [
            &["--authorization-mode=Webhook"][..],
            &["--authorization-mode=ABAC"],
            &["--authorization-mode=rbac"],
            &["--authorization-mode=RBAC,RBAC"],
            &["--authorization-policy-file=/p"],
            &["--authorization-mode=RBAC", "--authorization-webhook-config-file=/w"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
