//! `--encryption-provider-config`: an `EncryptionConfiguration` (apiserver.config.k8s.io/v1), and what upstream refuses of it.

use std::{collections::BTreeSet, path::Path as FilePath, time::Duration};

use anyhow::{Context, Result, bail};
use api_types::{FieldError, Path};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use sha2::{Digest, Sha256};

const VERSION: &str = "apiserver.config.k8s.io/v1";
const AES_SIZES: &[usize] = &[16, 24, 32];
const SECRETBOX_SIZES: &[usize] = &[32];

#[derive(Deserialize)]
pub(super) struct Configuration {
    #[serde(default, deserialize_with = "nullable")]
    pub(super) resources: Vec<Rule>,
}

/// Which resources are encrypted how.
#[derive(Deserialize)]
pub(super) struct Rule {
    #[serde(default, deserialize_with = "nullable")]
    pub(super) resources: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) providers: Vec<ProviderConfiguration>,
}

/// One of these.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ProviderConfiguration {
    pub(super) aesgcm: Option<Keys>,
    pub(super) aescbc: Option<Keys>,
    pub(super) secretbox: Option<Keys>,
    pub(super) identity: Option<serde_json::Map<String, serde_json::Value>>,
    pub(super) kms: Option<Kms>,
}

#[derive(Deserialize)]
pub(super) struct Keys {
    #[serde(default, deserialize_with = "nullable")]
    pub(super) keys: Vec<Key>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Key {
    pub(super) name: String,
    /// In base64.
    secret: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Kms {
    #[serde(deserialize_with = "nullable")]
    api_version: String,
    pub(super) name: String,
    cachesize: Option<i64>,
    pub(super) endpoint: String,
    timeout: Option<String>,
}

/// The first version of the interface, which is off.
pub(super) const KMS_V1_IS_OFF: &str = "KMSv1 is deprecated and will only receive security updates going forward. Use KMSv2 instead.  Set --feature-gates=KMSv1=true to use the deprecated KMSv1 feature.";

/// A resource as the file names it: `secrets`, `deployments.apps`, `*.apps`, `*.` (the core group), `*.*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupResource {
    pub(super) group: String,
    pub(super) resource: String,
}

fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Reads and checks the file: the configuration, and the hash of its text.
///
/// # Errors
/// A file that can't be read or that upstream refuses, in its words. `reload` says that the file is followed.
pub(super) fn read(path: &FilePath, reload: bool) -> Result<(Configuration, [u8; 32])> {
    let shown = path.display();
    let text = std::fs::read(path).with_context(|| {
        format!("error while loading file: error reading encryption provider configuration file \"{shown}\"")
    })?;
    if text.is_empty() {
        bail!("error while loading file: encryption provider configuration file \"{shown}\" is empty");
    }
    let configuration =
        parse(&text).with_context(|| format!("error decoding encryption provider configuration file \"{shown}\""))?;
    let errors: Vec<String> = configuration.check(reload).iter().map(ToString::to_string).collect();
    match errors.as_slice() {
        [] => Ok((configuration, Sha256::digest(&text).into())),
        [error] => bail!("{error}"),
        errors => bail!("[{}]", errors.join(", ")),
    }
}

fn parse(text: &[u8]) -> Result<Configuration> {
    let value: serde_json::Value = serde_yaml::from_slice(text)?;
    let (version, kind) =
        (value["apiVersion"].as_str().unwrap_or_default(), value["kind"].as_str().unwrap_or_default());
    if kind.is_empty() {
        bail!("Object 'Kind' is missing");
    }
    if version != VERSION || kind != "EncryptionConfiguration" {
        bail!("no kind \"{kind}\" is registered for version \"{version}\"");
    }
    Ok(serde_json::from_value(value)?)
}

// === impl GroupResource ===

impl GroupResource {
    pub(super) fn new(group: &str, resource: &str) -> Self {
        Self { group: group.to_owned(), resource: resource.to_owned() }
    }

    pub(super) fn parse(text: &str) -> Self {
        let (resource, group) = text.split_once('.').unwrap_or((text, ""));
        Self::new(group, resource)
    }
}

impl std::fmt::Display for GroupResource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.resource.as_str(), self.group.as_str()) {
            ("*", "") => f.write_str("*."),
            (resource, "") => f.write_str(resource),
            (resource, group) => write!(f, "{resource}.{group}"),
        }
    }
}

// === the checks ===

impl Configuration {
    fn check(&self, reload: bool) -> Vec<FieldError> {
        let root = Path::new("resources");
        let required = |path: &Path| FieldError::required(path, &format!("at least one {path} is required"));
        if self.resources.is_empty() {
            return vec![required(&root)];
        }
        let mut errors = Vec::new();
        let mut names = BTreeSet::new();
        for (n, rule) in self.resources.iter().enumerate() {
            let (resources, providers) = (root.index(n).child("resources"), root.index(n).child("providers"));
            if rule.resources.is_empty() {
                errors.push(required(&resources));
            }
            errors.extend(overlaps(&rule.resources, &resources));
            let one = |(n, name): (usize, &String)| check_name(name, &resources.index(n));
            errors.extend(rule.resources.iter().enumerate().filter_map(one));
            if rule.providers.is_empty() {
                errors.push(required(&providers));
            }
            for (n, provider) in rule.providers.iter().enumerate() {
                errors.extend(provider.check(&providers.index(n), &mut names, reload));
            }
        }
        errors
    }
}

/// Resources of one list of which one hides another.
fn overlaps(names: &[String], path: &Path) -> Vec<FieldError> {
    let all: Vec<GroupResource> = names.iter().map(|name| GroupResource::parse(name)).collect();
    let pairs = || (0..all.len()).flat_map(|a| (0..a).map(move |b| (a, b))).map(|(a, b)| (&all[a], &all[b]));
    let everything = GroupResource::new("*", "*");
    let hides = |a: &GroupResource, b: &GroupResource| {
        *a == everything || *b == everything || (a.group == b.group && (a.resource == "*" || b.resource == "*"))
    };
    let mut errors = Vec::new();
    if pairs().any(|(a, b)| a == b) {
        errors.push(FieldError::invalid(path, names, "the same resource cannot be specified multiple times"));
    }
    if pairs().any(|(a, b)| a != b && hides(a, b)) {
        let text = "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked";
        errors.push(FieldError::invalid(path, names, text));
    }
    errors
}

fn check_name(name: &str, path: &Path) -> Option<FieldError> {
    let GroupResource { group, resource } = GroupResource::parse(name);
    let wrong = if name.to_lowercase() != name {
        "resource name should not contain capital letters"
    } else if name == "*" {
        "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"
    } else if ["apiserveripinfo", "serviceipallocations", "servicenodeportallocations"].contains(&name) {
        "resources which do not have REST API/s cannot be encrypted"
    } else if group == "events.k8s.io" {
        "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file"
    } else if group == "extensions" {
        "'extensions' group has been removed and cannot be used for encryption"
    } else if group == "*" && resource != "*" {
        "encrypting the same resource across groups is not supported"
    } else {
        return None;
    };
    Some(FieldError::invalid(path, name, wrong))
}

impl ProviderConfiguration {
    fn check<'a>(&'a self, path: &Path, names: &mut BTreeSet<&'a str>, reload: bool) -> Vec<FieldError> {
        let keyed = [
            ("aesgcm", &self.aesgcm, AES_SIZES),
            ("aescbc", &self.aescbc, AES_SIZES),
            ("secretbox", &self.secretbox, SECRETBOX_SIZES),
        ];
        let mut errors = Vec::new();
        let count = keyed.iter().filter(|(_, keys, _)| keys.is_some()).count()
            + usize::from(self.identity.is_some())
            + usize::from(self.kms.is_some());
        match count {
            0 => {
                let nothing =
                    json!({ "AESGCM": null, "AESCBC": null, "Secretbox": null, "Identity": null, "KMS": null });
                errors.push(FieldError::invalid(path, nothing, NO_PROVIDER));
            }
            1 => {}
            // Not with its value, which has secrets.
            _ => errors.push(FieldError::invalid(path, "REDACTED", MORE_THAN_ONE)),
        }
        if let Some(kms) = &self.kms {
            errors.extend(kms.check(&path.child("kms"), names, reload));
            names.insert(&kms.name);
        } else if let Some((name, Some(keys), sizes)) = keyed.iter().find(|(_, keys, _)| keys.is_some()) {
            errors.extend(keys.check(&path.child(name).child("keys"), sizes));
        }
        errors
    }
}

const NO_PROVIDER: &str =
    "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity";
const MORE_THAN_ONE: &str =
    "more than one provider specified in a single element, should split into different list elements";

impl Keys {
    fn check(&self, path: &Path, sizes: &[usize]) -> Vec<FieldError> {
        if self.keys.is_empty() {
            return vec![FieldError::required(path, "at least one keys is required")];
        }
        self.keys.iter().enumerate().flat_map(|(n, key)| key.check(&path.index(n), sizes)).collect()
    }
}

impl Key {
    fn check(&self, path: &Path, sizes: &[usize]) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), "name is a mandatory field for a key"));
        }
        let path = path.child("secret");
        if self.secret.is_empty() {
            errors.push(FieldError::required(&path, "secret is a mandatory field for a key"));
            return errors;
        }
        match self.secret() {
            Err(_) => errors.push(FieldError::invalid(&path, "REDACTED", "secrets must be base64 encoded")),
            Ok(secret) if !sizes.contains(&secret.len()) => {
                let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
                let (length, sizes) = (secret.len(), sizes.join(" "));
                let text = format!("secret is not of the expected length, got {length}, expected one of [{sizes}]");
                errors.push(FieldError::invalid(&path, "REDACTED", &text));
            }
            Ok(_) => {}
        }
        errors
    }

    pub(super) fn secret(&self) -> Result<Vec<u8>> {
        // Go's decoder skips line ends.
        let text: String = self.secret.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        Ok(STANDARD.decode(text)?)
    }
}

impl Kms {
    pub(super) fn is_v2(&self) -> bool {
        self.api_version == "v2"
    }

    /// Three seconds where the file does not say; zero where what it says is no time.
    pub(super) fn timeout(&self) -> Duration {
        let Some(text) = &self.timeout else { return Duration::from_secs(3) };
        let nanoseconds = api_types::duration::parse(text).ok().and_then(|time| u64::try_from(time).ok());
        Duration::from_nanos(nanoseconds.unwrap_or_default())
    }

    fn check(&self, path: &Path, names: &BTreeSet<&str>, reload: bool) -> Vec<FieldError> {
        let version = if self.api_version.is_empty() { "v1" } else { &self.api_version };
        let mut errors = Vec::new();
        let name = path.child("name");
        if self.name.is_empty() {
            errors.push(FieldError::required(&name, "name is a mandatory field for a provider"));
        }
        if version != "v1" && self.name.contains(':') {
            let text = format!("invalid KMS provider name {}, must not contain ':'", self.name);
            errors.push(FieldError::invalid(&name, &self.name, &text));
        }
        if (reload || version != "v1") && names.contains(self.name.as_str()) {
            let text = format!("duplicate KMS provider name {}, names must be unique", self.name);
            errors.push(FieldError::invalid(&name, &self.name, &text));
        }
        if self.timeout().is_zero() {
            let text = self.timeout.as_deref().unwrap_or_default();
            errors.push(FieldError::invalid(&path.child("timeout"), text, "timeout should be a positive value"));
        }
        errors.extend(self.check_endpoint(&path.child("endpoint")));
        if let Some(size) = self.cachesize {
            let text = match version {
                "v1" if size == 0 => Some("cachesize should be a positive value, or negative to disable"),
                "v1" => None,
                _ => Some("cachesize is not supported in v2"),
            };
            errors.extend(text.map(|text| FieldError::invalid(&path.child("cachesize"), size, text)));
        }
        if !["v1", "v2"].contains(&version) {
            let text = "unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported";
            errors.push(FieldError::invalid(&path.child("apiVersion"), version, text));
        }
        errors
    }

    fn check_endpoint(&self, path: &Path) -> Option<FieldError> {
        if self.endpoint.is_empty() {
            return Some(FieldError::invalid(path, "", "endpoint is a mandatory field for a kms"));
        }
        let scheme = self.endpoint.split_once(':').map_or("", |(scheme, _)| scheme);
        let text = format!("unsupported scheme \"{scheme}\" for KMS provider, only unix is supported");
        (scheme != "unix").then(|| FieldError::invalid(path, &self.endpoint, &text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(resources: &str) -> String {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("encryption.yaml");
        let text = format!("apiVersion: {VERSION}\nkind: EncryptionConfiguration\nresources: {resources}\n");
        std::fs::write(&path, text).expect("written");
        read(&path, false).err().map(|error| format!("{error:#}")).unwrap_or_default()
    }

    fn provider(provider: &str) -> String {
        refusal(&format!("[{{resources: [secrets], providers: [{provider}]}}]"))
    }

    fn resources(names: &str) -> String {
        refusal(&format!("[{{resources: {names}, providers: [identity: {{}}]}}]"))
    }

    #[test]
    fn what_upstream_takes_is_taken() {
        let secret = STANDARD.encode([7; 32]);
        let kms = "kms: {apiVersion: v2, name: k, endpoint: 'unix:///tmp/kms.sock', timeout: 3s}";
        for text in [format!("aescbc: {{keys: [{{name: a, secret: {secret}}}]}}"), "identity: {}".into(), kms.into()] {
            assert_eq!(provider(&text), "", "{text}");
        }
        for names in ["[secrets, configmaps]", "['*.']", "['*.apps', secrets]", "['*.*']", "[pandas.awesome.example]"] {
            assert_eq!(resources(names), "", "{names}");
        }
    }

    #[test]
    fn what_upstream_refuses_is_refused_in_its_words() {
        assert_eq!(refusal("[]"), "resources: Required value: at least one resources is required");
        for (text, expected) in [
            ("{}", NO_PROVIDER),
            ("{aescbc: {keys: []}}", ".aescbc.keys: Required value: at least one keys is required"),
            ("{identity: {}, aescbc: {keys: [{name: a, secret: AAAAAAAAAAAAAAAAAAAAAA==}]}}", MORE_THAN_ONE),
            (
                "{aesgcm: {keys: [{secret: AAAAAAAAAAAAAAAAAAAAAA==}]}}",
                ".name: Required value: name is a mandatory field for a key",
            ),
            (
                "{aesgcm: {keys: [{name: a, secret: '?'}]}}",
                "Invalid value: \"REDACTED\": secrets must be base64 encoded",
            ),
            ("{secretbox: {keys: [{name: a, secret: AAAAAAAAAAAAAAAAAAAAAA==}]}}", "got 16, expected one of [32]"),
            ("{aescbc: {keys: [{name: a, secret: AAAA}]}}", "got 3, expected one of [16 24 32]"),
            (
                "{kms: {apiVersion: v2, name: 'a:b', endpoint: 'unix:///s'}}",
                "invalid KMS provider name a:b, must not contain ':'",
            ),
            ("{kms: {apiVersion: v2, name: a, endpoint: 'http://s'}}", "unsupported scheme \"http\" for KMS provider"),
            (
                "{kms: {apiVersion: v2, name: a, endpoint: 'unix:///s', cachesize: 3}}",
                "cachesize is not supported in v2",
            ),
            (
                "{kms: {apiVersion: v2, name: a, endpoint: 'unix:///s', timeout: 0s}}",
                "timeout should be a positive value",
            ),
        ] {
            let found = provider(text);
            assert!(found.starts_with("resources[0].providers[0]") && found.contains(expected), "{text}: {found}");
        }
        for (names, expected) in [
            ("[]", "resources[0].resources: Required value: at least one resources[0].resources is required"),
            ("['*']", "resources[0].resources[0]: Invalid value: \"*\": use '*.' to encrypt"),
            ("[Secrets]", "should not contain capital letters"),
            ("[secrets, secrets]", "the same resource cannot be specified multiple times"),
            ("[secrets, '*.']", "using overlapping resources"),
            ("['pods.*']", "encrypting the same resource across groups is not supported"),
            ("['events.events.k8s.io']", "Use 'events' instead in the config file"),
        ] {
            let found = resources(names);
            assert!(found.contains(expected), "{names}: {found}");
        }
    }
}
