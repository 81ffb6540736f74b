//! LeaseCandidate: a process that could hold a lease.

use crate::checks::{immutable, required};
use crate::field::{Errors, Field};
use crate::kind::Kind;
use crate::names;

pub(crate) static KIND: Kind = Kind {
    create_on_update: true,
    unconditional_update: false,
    name: |name, _| names::config_key(name),
    validate,
    validate_change: |new, old, errors| immutable(&new.dig("spec.leaseName"), &old.dig("spec.leaseName"), errors),
    labels_validated: 3,
    ..Kind::PLAIN
};

fn validate(candidate: &Field, errors: &mut Errors) {
    let spec = candidate.get("spec");
    required(&spec.get("leaseName"), errors);
    let (binary, emulation) = (spec.get("binaryVersion"), spec.get("emulationVersion"));
    let emulated = version(&emulation, errors);
    required(&binary, errors);
    if let (Some(binary_version), Some(emulated)) = (version(&binary, errors), emulated)
        && binary_version < emulated
    {
        errors.invalid(&binary, "must be greater than or equal to `emulationVersion`");
    }
    let strategy = spec.get("strategy");
    required(&strategy, errors);
    if strategy.str() == OLDEST && emulated.is_none_or(|v| v == [0; 3]) {
        errors.required(&emulation, "must be specified when `strategy` is 'OldestEmulationVersion'");
    }
    super::strategy(&strategy, errors);
}

pub(super) const OLDEST: &str = "OldestEmulationVersion";

/// Major, minor and patch of a semantic version.
fn version(field: &Field, errors: &mut Errors) -> Option<[u64; 3]> {
    if field.str().is_empty() {
        return None;
    }
    let core = field.str().split(['-', '+']).next().unwrap_or("");
    let canonical = |part: &str| part.parse::<u64>().ok().filter(|n| n.to_string() == part);
    let parts: Option<Vec<u64>> = core.split('.').map(canonical).collect();
    match parts.as_deref() {
        Some(&[major, minor, patch]) => Some([major, minor, patch]),
        _ => {
            errors.invalid(field, "must be a valid semantic version");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn versions_and_strategies() {
        let check = |binary: &str, emulation: &str, strategy: &str| {
            let mut errors = Errors::default();
            let spec =
                json!({"leaseName": "l", "binaryVersion": binary, "emulationVersion": emulation, "strategy": strategy});
            validate(&Field::root(&json!({ "spec": spec })), &mut errors);
            errors.into_vec().into_iter().map(|e| e.field.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(check("1.36.2", "1.35.0", OLDEST), Vec::<String>::new());
        assert_eq!(check("1.34.0", "1.35.0", OLDEST), ["spec.binaryVersion"]);
        assert_eq!(check("1.36", "", "example.com/x"), ["spec.binaryVersion"]);
        assert_eq!(check("1.36.0", "", OLDEST), ["spec.emulationVersion"]);
        assert_eq!(check("1.36.0", "1.36.0", "Other"), ["spec.strategy.strategy"]);
    }
}
