//! Which values are encrypted how, by resource; and which resource a key is of.

use std::{
    collections::BTreeMap,
    ops::Bound,
    path::Path,
    sync::{Arc, LazyLock},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use api_types::resources;
use storage::encryption::{
    AesCbc, AesGcm, Identity, Provider, Providers, SecretBox, Transformer,
    envelope::{Envelope, KeyService},
};

use super::{
    file::{self, GroupResource, KMS_V1_IS_OFF, Keys, Kms, ProviderConfiguration},
    kms, metrics,
};

/// A configuration at work.
pub(super) struct Rules {
    transformers: BTreeMap<GroupResource, Arc<dyn Transformer>>,
    /// Of resources that nothing is said of.
    plain: Arc<dyn Transformer>,
    /// The key management services that it names.
    pub(super) envelopes: Vec<Arc<Envelope>>,
    /// How long a call of each of them may take, in all.
    pub(super) timeouts: Duration,
    /// Of the file.
    pub(super) hash: [u8; 32],
}

impl Rules {
    /// Reads the file. Services are not asked yet.
    ///
    /// # Errors
    /// What upstream refuses, in its words.
    pub(super) fn read(path: &Path, reload: bool) -> Result<Rules> {
        let (configuration, hash) = file::read(path, reload).context("error while parsing file")?;
        let mut rules = Rules {
            transformers: BTreeMap::new(),
            plain: Arc::new(Identity),
            envelopes: Vec::new(),
            timeouts: Duration::ZERO,
            hash,
        };
        let mut lists: BTreeMap<GroupResource, Vec<Provider>> = BTreeMap::new();
        for rule in &configuration.resources {
            let providers = rule.providers.iter().map(|provider| rules.provider(provider));
            let providers: Vec<Provider> =
                providers.collect::<Result<_>>().context("error while building transformers")?;
            for name in &rule.resources {
                let resource = GroupResource::parse(name);
                for earlier in [GroupResource::new(&resource.group, "*"), GroupResource::new("*", "*")] {
                    if lists.contains_key(&earlier) {
                        bail!(
                            "error while building transformers: resource \"{resource}\" is masked by earlier rule \"{earlier}\""
                        );
                    }
                }
                lists.entry(resource).or_default().extend(providers.iter().cloned());
            }
        }
        for (resource, providers) in lists {
            let providers = Providers::new(providers, "no matching prefix found", metrics::transformed);
            rules.transformers.insert(resource, Arc::new(providers));
        }
        Ok(rules)
    }

    /// What encrypts the value of this key.
    pub(super) fn of(&self, key: &str) -> &Arc<dyn Transformer> {
        let resource = resource_of(key);
        let found = self.transformers.get(&resource);
        found
            .or_else(|| self.transformers.get(&GroupResource { resource: "*".to_owned(), ..resource }))
            .or_else(|| self.transformers.get(&GroupResource::new("*", "*")))
            .unwrap_or(&self.plain)
    }

    fn provider(&mut self, configuration: &ProviderConfiguration) -> Result<Provider> {
        let aes = "no matching key was found for the provided AES transformer";
        let secretbox = "no matching key was found for the provided Secretbox transformer";
        match configuration {
            ProviderConfiguration { aesgcm: Some(keys), .. } => {
                keyed("aesgcm", keys, aes, |secret| Ok(Arc::new(AesGcm::new(secret)?)))
            }
            ProviderConfiguration { aescbc: Some(keys), .. } => {
                keyed("aescbc", keys, aes, |secret| Ok(Arc::new(AesCbc::new(secret)?)))
            }
            ProviderConfiguration { secretbox: Some(keys), .. } => {
                keyed("secretbox", keys, secretbox, |secret| Ok(Arc::new(SecretBox::new(secret.try_into()?))))
            }
            ProviderConfiguration { kms: Some(kms), .. } => self.envelope(kms),
            _ => Ok(Provider { prefix: String::new(), transformer: Arc::new(Identity) }),
        }
    }

    fn envelope(&mut self, configuration: &Kms) -> Result<Provider> {
        let name = &configuration.name;
        if !configuration.is_v2() {
            bail!(KMS_V1_IS_OFF);
        }
        let client = kms::Client::new(&configuration.endpoint, configuration.timeout());
        let client: Arc<dyn KeyService> =
            Arc::new(client.with_context(|| format!("could not configure KMSv2-Plugin's probe \"{name}\""))?);
        let envelope = Arc::new(Envelope::new(name, client));
        self.timeouts += configuration.timeout();
        self.envelopes.push(Arc::clone(&envelope));
        Ok(Provider { prefix: format!("k8s:enc:kms:v2:{name}:"), transformer: envelope })
    }
}

/// A provider of several keys.
fn keyed(
    name: &str,
    keys: &Keys,
    no_match: &'static str,
    make: impl Fn(&[u8]) -> Result<Arc<dyn Transformer>>,
) -> Result<Provider> {
    let mut all = Vec::new();
    for key in &keys.keys {
        let transformer = make(&key.secret()?);
        let transformer =
            transformer.with_context(|| format!("error while creating cipher for named key {}", key.name))?;
        all.push(Provider { prefix: format!("{}:", key.name), transformer });
    }
    let keys = Providers::new(all, no_match, metrics::transformed);
    Ok(Provider { prefix: format!("k8s:enc:{name}:v1:"), transformer: Arc::new(keys) })
}

/// By what their keys start with. What is stored and not served has names of its own in upstream.
static BUILT_IN: LazyLock<BTreeMap<String, GroupResource>> = LazyLock::new(|| {
    let mut all = BTreeMap::from([
        ("/registry/ranges/serviceips".to_owned(), GroupResource::new("", "serviceipallocations")),
        ("/registry/ranges/servicenodeports".to_owned(), GroupResource::new("", "servicenodeportallocations")),
    ]);
    for resource in resources::all() {
        if let Some(storage) = &resource.storage {
            let name = || GroupResource::new(resource.group, resource.plural);
            let known = all.entry(format!("/registry/{}/", storage.prefix)).or_insert_with(name);
            // Of the groups that share objects, it is the one whose form they are stored in.
            if known.group != storage.group && resource.group == storage.group {
                *known = name();
            }
        }
    }
    all
});

/// The resource whose object is stored under `key`; custom ones have group and name in it.
fn resource_of(key: &str) -> GroupResource {
    let known = BUILT_IN.range::<str, _>((Bound::Unbounded, Bound::Included(key))).next_back();
    if let Some((_, resource)) = known.filter(|(prefix, _)| key.starts_with(prefix.as_str())) {
        return resource.clone();
    }
    let mut parts = key.trim_start_matches("/registry/").split('/');
    let (group, resource) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    GroupResource::new(group, resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_their_resource() {
        for (key, expected) in [
            ("/registry/secrets/ns/name", "secrets"),
            ("/registry/services/specs/ns/name", "services"),
            ("/registry/services/endpoints/ns/name", "endpoints"),
            ("/registry/minions/node", "nodes"),
            ("/registry/events/ns/name", "events"),
            ("/registry/deployments/ns/name", "deployments.apps"),
            ("/registry/ingress/ns/name", "ingresses.networking.k8s.io"),
            ("/registry/leases/ns/name", "leases.coordination.k8s.io"),
            ("/registry/ranges/servicenodeports", "servicenodeportallocations"),
            (
                "/registry/apiextensions.k8s.io/customresourcedefinitions/x",
                "customresourcedefinitions.apiextensions.k8s.io",
            ),
            ("/registry/awesome.example/pandas/ns/name", "pandas.awesome.example"),
        ] {
            assert_eq!(resource_of(key).to_string(), expected);
        }
    }

    fn rules(text: &str) -> Result<Rules> {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("encryption.yaml");
        let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n";
        std::fs::write(&path, format!("{head}{text}")).expect("written");
        Rules::read(&path, false)
    }

    const SECRET: &str = "AAAAAAAAAAAAAAAAAAAAAA==";

    /// A rule of these resources with one key of this name.
    fn rule(resources: &str, key: &str) -> String {
        format!("- resources: [{resources}]\n  providers: [aesgcm: {{keys: [{{name: {key}, secret: {SECRET}}}]}}]\n")
    }

    async fn prefix(rules: &Rules, key: &str) -> String {
        let sealed = rules.of(key).seal(key, &"value".into()).await.expect("encrypted");
        let text = String::from_utf8_lossy(&sealed).into_owned();
        text.split(':').take(5).collect::<Vec<_>>().join(":")
    }

    #[tokio::test]
    async fn the_narrowest_rule_counts() {
        let text = [rule("secrets", "a"), rule("'*.apps'", "b"), rule("'*.'", "c"), rule("'*.*'", "d")].concat();
        let rules = rules(&text).expect("rules");
        for (key, name) in [
            ("/registry/secrets/ns/name", "a"),
            ("/registry/deployments/ns/name", "b"),
            ("/registry/configmaps/ns/name", "c"),
            ("/registry/awesome.example/pandas/name", "d"),
        ] {
            assert_eq!(prefix(&rules, key).await, format!("k8s:enc:aesgcm:v1:{name}"), "{key}");
        }
        let rules = self::rules(&rule("secrets", "a")).expect("rules");
        assert_eq!(prefix(&rules, "/registry/configmaps/ns/name").await, "value");
    }

    #[test]
    fn what_an_earlier_rule_hides_is_refused() {
        let refusal = |text: &[String]| rules(&text.concat()).err().map(|error| format!("{error:#}"));
        let text = "error while building transformers: resource \"secrets\" is masked by earlier rule";
        assert_eq!(refusal(&[rule("'*.'", "a"), rule("secrets", "b")]), Some(format!("{text} \"*.\"")));
        assert_eq!(refusal(&[rule("'*.*'", "a"), rule("secrets", "b")]), Some(format!("{text} \"*.*\"")));
        assert_eq!(refusal(&[rule("secrets", "a"), rule("secrets", "b")]), None);
        let kms = "- resources: [secrets]\n  providers: [kms: {name: a, endpoint: 'unix:///s'}]\n".to_owned();
        assert_eq!(refusal(&[kms]), Some(format!("error while building transformers: {KMS_V1_IS_OFF}")));
    }
}
