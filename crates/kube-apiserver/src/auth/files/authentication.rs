//! `AuthenticationConfiguration`, and the `--oidc-*` flags that say a part of it.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, bail, ensure};
use component_base::flags::Flags;
use jsonwebtoken::Algorithm;
use kube_cel::{Environment, Expression, Type};
use serde::Deserialize;

use crate::auth::{
    authenticate::oidc::{Claim, ClaimRule, Mapping, UserRule},
    config::Anonymous,
};

/// One provider of tokens, checked.
#[derive(Clone, Debug)]
pub struct JwtConfig {
    pub(in crate::auth) issuer: String,
    pub(in crate::auth) discovery_url: String,
    /// Whom to trust, PEM; empty for the system's.
    pub(in crate::auth) authority: String,
    pub(in crate::auth) audiences: Vec<String>,
    pub(in crate::auth) algorithms: Vec<Algorithm>,
    pub(in crate::auth) mapping: Mapping,
}

/// What providers may sign with, where nothing narrows it. ES512 has no implementation here.
const ALGORITHMS: [Algorithm; 8] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    jwt: Vec<Jwt>,
    anonymous: Option<AnonymousSection>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnonymousSection {
    #[serde(default)]
    enabled: bool,
    #[serde(default)]
    conditions: Vec<PathCondition>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PathCondition {
    path: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Jwt {
    issuer: Issuer,
    #[serde(default)]
    claim_validation_rules: Vec<ClaimValidation>,
    claim_mappings: ClaimMappings,
    #[serde(default)]
    user_validation_rules: Vec<UserValidation>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Issuer {
    url: String,
    #[serde(rename = "discoveryURL", default)]
    discovery_url: String,
    #[serde(default)]
    certificate_authority: String,
    #[serde(default)]
    audiences: Vec<String>,
    #[serde(default)]
    audience_match_policy: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct ClaimValidation {
    claim: String,
    required_value: String,
    expression: String,
    message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClaimMappings {
    username: ClaimSource,
    #[serde(default)]
    groups: ClaimSource,
    #[serde(default)]
    uid: ClaimSource,
    #[serde(default)]
    extra: Vec<Extra>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ClaimSource {
    claim: String,
    prefix: Option<String>,
    expression: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Extra {
    key: String,
    value_expression: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserValidation {
    expression: String,
    #[serde(default)]
    message: String,
}

/// Reads the file: the providers, and who may come without credentials (absent where the flag says it). `own` are the
/// issuers of the server itself.
///
/// # Errors
/// A file that can't be read or means nothing.
pub(in crate::auth) fn read(path: &Path, own: &[String]) -> anyhow::Result<(Vec<JwtConfig>, Option<Anonymous>)> {
    let file: File = super::load(path, "AuthenticationConfiguration", &["v1", "v1beta1", "v1alpha1"])?;
    configure(file, own).with_context(|| path.display().to_string())
}

fn configure(file: File, own: &[String]) -> anyhow::Result<(Vec<JwtConfig>, Option<Anonymous>)> {
    let mut providers: Vec<JwtConfig> = Vec::new();
    for (index, jwt) in file.jwt.into_iter().enumerate() {
        let provider = jwt.configure().with_context(|| format!("jwt[{index}]"))?;
        let url = &provider.issuer;
        ensure!(!own.contains(url), "jwt[{index}].issuer.url: {url:?} is the issuer of service accounts");
        let known = providers.iter().any(|other| other.issuer == *url);
        ensure!(!known, "jwt[{index}].issuer.url: Duplicate value: {url:?}");
        providers.push(provider);
    }
    let anonymous = file.anonymous.map(AnonymousSection::configure).transpose()?;
    Ok((providers, anonymous))
}

impl AnonymousSection {
    fn configure(self) -> anyhow::Result<Anonymous> {
        ensure!(
            self.enabled || self.conditions.is_empty(),
            "anonymous.conditions: conditions are not allowed when anonymous is not enabled"
        );
        Ok(match (self.enabled, self.conditions.is_empty()) {
            (false, _) => Anonymous::Never,
            (true, true) => Anonymous::Always,
            (true, false) => Anonymous::Paths(self.conditions.into_iter().map(|condition| condition.path).collect()),
        })
    }
}

impl Jwt {
    fn configure(self) -> anyhow::Result<JwtConfig> {
        let issuer = self.issuer;
        check_url(&issuer.url).context("issuer.url")?;
        if !issuer.discovery_url.is_empty() {
            check_url(&issuer.discovery_url).context("issuer.discoveryURL")?;
            ensure!(issuer.discovery_url != issuer.url, "issuer.discoveryURL: must be different from url");
        }
        ensure!(!issuer.audiences.is_empty(), "issuer.audiences: at least one is needed");
        let policy = issuer.audience_match_policy.as_str();
        ensure!(
            policy == "MatchAny" || (policy.is_empty() && issuer.audiences.len() == 1),
            "issuer.audienceMatchPolicy: must be MatchAny for multiple audiences"
        );
        let mapping = mapping(self.claim_mappings, self.claim_validation_rules, self.user_validation_rules)?;
        Ok(JwtConfig {
            issuer: issuer.url,
            discovery_url: issuer.discovery_url,
            authority: issuer.certificate_authority,
            audiences: issuer.audiences,
            algorithms: ALGORITHMS.to_vec(),
            mapping,
        })
    }
}

/// The URL of a provider.
fn check_url(url: &str) -> anyhow::Result<()> {
    let parsed: http::Uri = url.parse().with_context(|| format!("{url:?} is no URL"))?;
    ensure!(parsed.scheme_str() == Some("https"), "URL scheme must be https");
    let authority = parsed.authority().context("URL must have a host")?;
    ensure!(!authority.as_str().contains('@'), "URL must not contain a username or password");
    ensure!(parsed.query().is_none() && !url.contains('#'), "URL must not contain a query or a fragment");
    Ok(())
}

// === claims ===

fn mapping(
    mappings: ClaimMappings,
    rules: Vec<ClaimValidation>,
    user_rules: Vec<UserValidation>,
) -> anyhow::Result<Mapping> {
    let username = mappings.username.username().context("claimMappings.username")?;
    let mapping = Mapping {
        username,
        groups: mappings.groups.optional().context("claimMappings.groups")?,
        uid: mappings.uid.optional().context("claimMappings.uid")?,
        extra: extra(mappings.extra)?,
        claim_rules: numbered("claimValidationRules", rules, ClaimValidation::configure)?,
        user_rules: numbered("userValidationRules", user_rules, UserValidation::configure)?,
    };
    ensure!(
        !uses(&mapping.username, "claims.email") || looks_at_verification(&mapping),
        "claimMappings.username.expression: claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression"
    );
    Ok(mapping)
}

fn numbered<T, U>(what: &str, items: Vec<T>, configure: fn(T) -> anyhow::Result<U>) -> anyhow::Result<Vec<U>> {
    let one = |(index, item)| configure(item).with_context(|| format!("{what}[{index}]"));
    items.into_iter().enumerate().map(one).collect()
}

fn extra(items: Vec<Extra>) -> anyhow::Result<Vec<(String, Expression)>> {
    let mut extra = BTreeMap::new();
    for (index, item) in items.into_iter().enumerate() {
        let at = format!("claimMappings.extra[{index}]");
        let domain = item.key.split_once('/').is_some_and(|(domain, rest)| domain.contains('.') && !rest.is_empty());
        ensure!(
            domain && item.key == item.key.to_lowercase(),
            "{at}.key: {:?} must be a lower-case path below a domain",
            item.key
        );
        let reserved = item.key.split('/').next().is_some_and(|domain| {
            ["kubernetes.io", "k8s.io"].iter().any(|own| domain == *own || domain.ends_with(&format!(".{own}")))
        });
        ensure!(!reserved, "{at}.key: {:?}: k8s.io, kubernetes.io and their subdomains are reserved", item.key);
        let expression = claims_expression(&item.value_expression, None).with_context(|| at.clone())?;
        ensure!(extra.insert(item.key.clone(), expression).is_none(), "{at}.key: Duplicate value: {:?}", item.key);
    }
    Ok(extra.into_iter().collect())
}

impl ClaimSource {
    fn username(self) -> anyhow::Result<Claim> {
        ensure!(!self.claim.is_empty() || !self.expression.is_empty(), "claim or expression is required");
        if self.expression.is_empty() {
            ensure!(
                self.prefix.is_some(),
                "prefix is required when claim is set. It can be set to an empty string to disable prefixing"
            );
        }
        self.one()
    }

    fn optional(self) -> anyhow::Result<Option<Claim>> {
        if self.claim.is_empty() && self.expression.is_empty() {
            ensure!(self.prefix.as_deref().unwrap_or_default().is_empty(), "prefix: a claim is needed with it");
            return Ok(None);
        }
        self.one().map(Some)
    }

    fn one(self) -> anyhow::Result<Claim> {
        ensure!(self.claim.is_empty() || self.expression.is_empty(), "expression must not be set when claim is set");
        if self.expression.is_empty() {
            return Ok(Claim::Named { claim: self.claim, prefix: self.prefix.unwrap_or_default() });
        }
        ensure!(self.prefix.is_none(), "prefix can't be set when expression is set");
        Ok(Claim::Computed(claims_expression(&self.expression, None)?))
    }
}

impl ClaimValidation {
    fn configure(self) -> anyhow::Result<ClaimRule> {
        match (self.claim.is_empty(), self.expression.is_empty()) {
            (true, true) => bail!("claim or expression is required"),
            (false, false) => bail!("claim and expression can't both be set"),
            (false, true) => {
                ensure!(self.message.is_empty(), "message can't be set when claim is set");
                Ok(ClaimRule::Equals { claim: self.claim, value: self.required_value })
            }
            (true, false) => {
                ensure!(self.required_value.is_empty(), "requiredValue can't be set when expression is set");
                let expression = claims_expression(&self.expression, Some(&Type::Bool))?;
                Ok(ClaimRule::Holds { expression, message: self.message })
            }
        }
    }
}

impl UserValidation {
    fn configure(self) -> anyhow::Result<UserRule> {
        let texts = Type::list(Type::String);
        let user = Type::object(
            "kubernetes.UserInfo",
            [
                ("username", Type::String),
                ("uid", Type::String),
                ("groups", texts.clone()),
                ("extra", Type::map(Type::String, texts)),
            ],
        );
        let environment = Environment::default().variable("user", user);
        Ok(UserRule { expression: compile(&self.expression, &environment, Some(&Type::Bool))?, message: self.message })
    }
}

fn claims_expression(source: &str, of: Option<&Type>) -> anyhow::Result<Expression> {
    let environment = Environment::default().variable("claims", Type::map(Type::String, Type::Dyn));
    compile(source, &environment, of)
}

fn compile(source: &str, environment: &Environment, of: Option<&Type>) -> anyhow::Result<Expression> {
    let expression =
        Expression::compile(source, environment).map_err(|e| anyhow::anyhow!("compilation failed: {e}"))?;
    if let Some(of) = of {
        ensure!(expression.ty() == of, "must evaluate to {of}");
    }
    Ok(expression)
}

fn uses(claim: &Claim, member: &str) -> bool {
    matches!(claim, Claim::Computed(expression) if mentions(expression, member))
}

/// Whether a member is named, and not just one whose name begins like it.
fn mentions(expression: &Expression, member: &str) -> bool {
    let follows = |(at, found): (usize, &str)| {
        let next = expression.source()[at + found.len()..].chars().next();
        !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
    };
    expression.source().match_indices(member).any(follows)
}

fn looks_at_verification(mapping: &Mapping) -> bool {
    const VERIFIED: &str = "claims.email_verified";
    let by_rule =
        |rule: &ClaimRule| matches!(rule, ClaimRule::Holds { expression, .. } if mentions(expression, VERIFIED));
    uses(&mapping.username, VERIFIED)
        || mapping.extra.iter().any(|(_, expression)| mentions(expression, VERIFIED))
        || mapping.claim_rules.iter().any(by_rule)
}

// === flags ===

/// The provider that the `--oidc-*` flags name, if they do.
///
/// # Errors
/// Flags that don't go together, files that can't be read.
pub(in crate::auth) fn read_oidc_flags(flags: &Flags) -> anyhow::Result<Option<JwtConfig>> {
    let text = |name: &str| flags.opt(name).unwrap_or_default().to_owned();
    let (issuer, client) = (text("oidc-issuer-url"), text("oidc-client-id"));
    if issuer.is_empty() && client.is_empty() {
        return Ok(None);
    }
    ensure!(
        !issuer.is_empty() && !client.is_empty(),
        "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set"
    );
    check_url(&issuer).context("--oidc-issuer-url")?;
    let authority = match flags.opt("oidc-ca-file") {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("--oidc-ca-file: reading {file}"))?,
        None => String::new(),
    };
    let claim = flags.get("oidc-username-claim").to_owned();
    let prefix = match flags.opt("oidc-username-prefix") {
        Some("-") => String::new(),
        Some(prefix) => prefix.to_owned(),
        // A name is the provider's; an address says so by itself.
        None if claim == "email" => String::new(),
        None => format!("{issuer}#"),
    };
    let groups = flags
        .opt("oidc-groups-claim")
        .map(|claim| Claim::Named { claim: claim.to_owned(), prefix: text("oidc-groups-prefix") });
    let required = flags.map("oidc-required-claim");
    Ok(Some(JwtConfig {
        issuer,
        discovery_url: String::new(),
        authority,
        audiences: vec![client],
        algorithms: algorithms(&flags.list("oidc-signing-algs"))?,
        mapping: Mapping {
            username: Claim::Named { claim, prefix },
            groups,
            uid: None,
            extra: Vec::new(),
            claim_rules: required.into_iter().map(|(claim, value)| ClaimRule::Equals { claim, value }).collect(),
            user_rules: Vec::new(),
        },
    }))
}

fn algorithms(names: &[String]) -> anyhow::Result<Vec<Algorithm>> {
    let one = |name: &String| {
        let known = ALGORITHMS.iter().find(|algorithm| format!("{algorithm:?}") == *name);
        known.copied().with_context(|| format!("--oidc-signing-algs: {name} is not supported"))
    };
    names.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer: {url: "https://id.example", audiences: [a]}
  claimValidationRules:
  - {claim: hd, requiredValue: example.org}
  - {expression: "claims.email_verified == true", message: verify}
  claimMappings:
    username: {expression: "claims.email"}
    groups: {claim: groups, prefix: "id:"}
    extra: [{key: example.org/team, valueExpression: claims.team}]
  userValidationRules:
  - {expression: "!user.username.startsWith('system:')", message: reserved}
anonymous:
  enabled: true
  conditions: [{path: /livez}]
"#;

    fn read(text: &str) -> anyhow::Result<(Vec<JwtConfig>, Option<Anonymous>)> {
        let file = super::super::parse(text.as_bytes(), "AuthenticationConfiguration", &["v1"])?;
        configure(file, &["https://own".to_owned()])
    }

    #[test]
    fn files_name_providers() {
        let (providers, anonymous) = read(GOOD).unwrap();
        assert_eq!(providers[0].issuer, "https://id.example");
        assert_eq!((providers[0].mapping.claim_rules.len(), providers[0].mapping.extra.len()), (2, 1));
        assert_eq!(anonymous, Some(Anonymous::Paths(vec!["/livez".to_owned()])));
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (from, to, word) in [
            ("https://id.example", "http://id.example", "must be https"),
            ("https://id.example", "https://own", "issuer of service accounts"),
            ("audiences: [a]", "audiences: []", "audiences"),
            ("audiences: [a]", "audiences: [a, b]", "MatchAny"),
            ("claims.email_verified == true", "claims.sub == ''", "claims.email_verified must be used"),
            ("claims.email_verified == true", "claims.email", "must evaluate to bool"),
            ("{claim: groups, prefix: \"id:\"}", "{expression: \"claims.(\"}", "compilation failed"),
            ("example.org/team", "k8s.io/team", "reserved"),
            ("user.username", "user.name", "undefined field"),
            ("enabled: true", "enabled: false", "not allowed when anonymous is not enabled"),
            ("claimMappings:", "claimMapping:", "unknown field"),
            ("config.k8s.io/v1", "config.k8s.io/v2", "no kind"),
        ] {
            let error = read(&GOOD.replace(from, to)).expect_err(to);
            assert!(format!("{error:#}").contains(word), "{to}: {error:#}");
        }
    }
}
