//! `--feature-gates`: upstream's names are accepted; only those that some component declares here change anything.

use std::collections::BTreeMap;

/// The gates that the command line or a configuration file set, by name.
#[derive(Clone, Debug, Default)]
pub struct FeatureGates(BTreeMap<String, bool>);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid value {value:?} of feature gate {name}: must be true or false")]
pub struct InvalidGate {
    name: String,
    value: String,
}

impl FeatureGates {
    /// Reads `Name=true` pairs.
    pub fn parse(pairs: &BTreeMap<String, String>) -> Result<Self, InvalidGate> {
        let gate = |(name, value): (&String, &String)| match value.parse() {
            Ok(on) => Ok((name.clone(), on)),
            Err(_) => Err(InvalidGate { name: name.clone(), value: value.clone() }),
        };
        pairs.iter().map(gate).collect::<Result<_, _>>().map(FeatureGates)
    }

    /// Whether `name` is on; `default` is upstream's default for 1.36.
    pub fn enabled(&self, name: &str, default: bool) -> bool {
        self.0.get(name).or_else(|| self.0.get("AllAlpha").filter(|_| !default)).copied().unwrap_or(default)
    }
}
