//! Taints of nodes and the tolerations of pods; taints of devices and the tolerations of claims.

use api_types::k8s_openapi::api::{
    core::v1::{Taint, Toleration},
    resource::v1::{DeviceTaint, DeviceToleration},
};

/// A pod that does not tolerate the taint is not scheduled here.
pub const NO_SCHEDULE: &str = "NoSchedule";
/// A pod that does not tolerate the taint is scheduled here last.
pub const PREFER_NO_SCHEDULE: &str = "PreferNoSchedule";
/// A pod that does not tolerate the taint is not scheduled here, and evicted when it runs here.
pub const NO_EXECUTE: &str = "NoExecute";

/// The taint of a cordoned node.
pub const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// The taint of a node whose kubelet says that it is not ready.
pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// The taint of a node whose kubelet is silent.
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// The taint of a node that waits for the cloud provider.
pub const UNINITIALIZED: &str = "node.cloudprovider.kubernetes.io/uninitialized";
/// The taint of a node whose machine is shut down.
pub const SHUTDOWN: &str = "node.cloudprovider.kubernetes.io/shutdown";

/// Whether the toleration covers the taint.
#[must_use]
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let differs = |field: &Option<String>, other: &str| field.as_deref().is_some_and(|s| !s.is_empty() && s != other);
    if differs(&toleration.effect, &taint.effect) || differs(&toleration.key, &taint.key) {
        return false;
    }
    let wanted = toleration.value.as_deref().unwrap_or("");
    let there = taint.value.as_deref().unwrap_or("");
    match toleration.operator.as_deref().unwrap_or("") {
        "" | "Equal" => wanted == there,
        "Exists" => true,
        "Lt" => compare(there, wanted, |taint, limit| taint < limit),
        "Gt" => compare(there, wanted, |taint, limit| taint > limit),
        _ => false,
    }
}

/// Whether a claim's toleration covers a device's taint.
#[must_use]
pub fn tolerates_device(toleration: &DeviceToleration, taint: &DeviceTaint) -> bool {
    let same = |want: &Option<String>, have: &str| want.as_deref().is_none_or(|want| want.is_empty() || want == have);
    let same_value = || toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default();
    let holds = match toleration.operator.as_deref().unwrap_or_default() {
        "Exists" => true,
        "Equal" | "" => same_value(),
        _ => false,
    };
    holds && same(&toleration.effect, &taint.effect) && same(&toleration.key, &taint.key)
}

/// Whether any toleration covers the taint.
#[must_use]
pub fn tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|t| tolerates(t, taint))
}

/// The first taint with one of `effects` that no toleration covers.
#[must_use]
pub fn find_untolerated<'a>(taints: &'a [Taint], tolerations: &[Toleration], effects: &[&str]) -> Option<&'a Taint> {
    taints.iter().find(|taint| effects.contains(&taint.effect.as_str()) && !tolerated(tolerations, taint))
}

/// Whether two taints are the same in the eyes of the API (key and effect identify one).
#[must_use]
pub fn same(a: &Taint, b: &Taint) -> bool {
    a.key == b.key && a.effect == b.effect
}

fn compare(taint: &str, limit: &str, holds: impl Fn(i64, i64) -> bool) -> bool {
    matches!((taint.parse(), limit.parse()), (Ok(taint), Ok(limit)) if holds(taint, limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toleration(key: &str, operator: &str, value: &str, effect: &str) -> Toleration {
        let some = |s: &str| (!s.is_empty()).then(|| s.to_owned());
        Toleration {
            key: some(key),
            operator: some(operator),
            value: some(value),
            effect: some(effect),
            toleration_seconds: None,
        }
    }

    #[test]
    fn operators_keys_and_effects() {
        let taint = Taint { key: "k".into(), value: Some("5".into()), effect: NO_SCHEDULE.into(), time_added: None };
        let table = [
            (("k", "Equal", "5", NO_SCHEDULE), true),
            (("k", "", "5", ""), true),
            (("k", "Equal", "6", NO_SCHEDULE), false),
            (("k", "Exists", "", NO_EXECUTE), false),
            (("k", "Exists", "", ""), true),
            (("", "Exists", "", ""), true),
            (("other", "Exists", "", ""), false),
            (("k", "Lt", "6", ""), true),
            (("k", "Gt", "6", ""), false),
            (("k", "Gt", "x", ""), false),
            (("k", "Between", "5", ""), false),
        ];
        for ((key, operator, value, effect), want) in table {
            let toleration = toleration(key, operator, value, effect);
            assert_eq!(tolerates(&toleration, &taint), want, "{toleration:?}");
            let found = find_untolerated(std::slice::from_ref(&taint), &[toleration], &[NO_SCHEDULE]);
            assert_eq!(found.is_none(), want);
        }
        assert!(find_untolerated(&[taint], &[], &[NO_EXECUTE]).is_none());
    }
}
