//! `--runtime-config`: which built-in API versions and resources are served. Stable versions are on from the start, beta and alpha
//! ones are off, as upstream's `DefaultAPIResourceConfigSource` has them.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use api_types::resources;

/// How mature a version is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Stable,
    Beta,
    Alpha,
}

impl Level {
    fn of(version: &str) -> Self {
        match version {
            v if v.contains("alpha") => Level::Alpha,
            v if v.contains("beta") => Level::Beta,
            _ => Level::Stable,
        }
    }
}

/// What is served beside or instead of the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeConfig {
    all: Option<bool>,
    levels: [Option<bool>; 3],
    /// By `group/version`; the core group's is `v1`.
    versions: BTreeMap<String, bool>,
    /// By `group/version/resource`.
    resources: BTreeMap<String, bool>,
}

impl RuntimeConfig {
    /// Reads the pairs of the flag: `api/all`, `api/ga`, `api/beta`, `api/alpha`, a group version, or a resource of one.
    ///
    /// # Errors
    /// If a key names nothing that there is, or a value is no boolean.
    pub fn parse(pairs: &BTreeMap<String, String>) -> Result<Self> {
        let mut config = Self::default();
        for (key, value) in pairs {
            let on = match value.to_ascii_lowercase().as_str() {
                "" | "true" | "t" | "1" => true,
                "false" | "f" | "0" => false,
                _ => bail!("--runtime-config: invalid value of {key}: {value}"),
            };
            config.set(key, on)?;
        }
        Ok(config)
    }

    fn set(&mut self, key: &str, on: bool) -> Result<()> {
        let known = |matches: &dyn Fn(&resources::Resource) -> bool| resources::all().iter().any(matches);
        match key {
            "api/all" => self.all = Some(on),
            "api/ga" => self.levels[0] = Some(on),
            "api/beta" => self.levels[1] = Some(on),
            "api/alpha" => self.levels[2] = Some(on),
            // The core group may be written with a group of its own or without.
            "api/v1" => _ = self.versions.insert("v1".to_owned(), on),
            _ if known(&|r| r.api_version() == key) => _ = self.versions.insert(key.to_owned(), on),
            _ if known(&|r| format!("{}/{}", r.api_version(), r.plural) == key) => {
                self.resources.insert(key.to_owned(), on);
            }
            _ => bail!("--runtime-config: unknown API {key}"),
        }
        Ok(())
    }

    /// Whether a resource is served; what is more exact counts.
    pub fn serves(&self, resource: &resources::Resource) -> bool {
        let version = resource.api_version();
        let level = Level::of(resource.version);
        let exact = self.resources.get(&format!("{version}/{}", resource.plural)).or(self.versions.get(&version));
        exact.copied().or(self.levels[level as usize]).or(self.all).unwrap_or(level == Level::Stable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(pairs: &[(&str, &str)]) -> Vec<String> {
        let pairs = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let config = RuntimeConfig::parse(&pairs).unwrap();
        let kinds = ["leases", "leasecandidates"];
        let of = resources::all().iter().filter(|r| kinds.contains(&r.plural) && config.serves(r));
        of.map(|r| format!("{}/{}", r.version, r.plural)).collect()
    }

    #[test]
    fn stable_versions_unless_told_otherwise() {
        assert_eq!(served(&[]), ["v1/leases"]);
        assert_eq!(served(&[("api/beta", "true")]), ["v1/leases", "v1beta1/leasecandidates"]);
        assert_eq!(served(&[("api/all", "true"), ("api/alpha", "false")]), ["v1/leases", "v1beta1/leasecandidates"]);
        assert_eq!(served(&[("coordination.k8s.io/v1", "false")]), [""; 0]);
        let alpha = [("coordination.k8s.io/v1alpha2/leasecandidates", "")];
        assert_eq!(served(&alpha), ["v1/leases", "v1alpha2/leasecandidates"]);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for (key, value) in [("api/gamma", "true"), ("apps/v2", "true"), ("api/all", "perhaps")] {
            assert!(RuntimeConfig::parse(&[(key.to_owned(), value.to_owned())].into()).is_err(), "{key}={value}");
        }
    }
}
