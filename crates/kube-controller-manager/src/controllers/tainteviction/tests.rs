//! A table over the plan.

use api_types::k8s_openapi::{
    api::core::v1::{Pod, Taint},
    jiff::Timestamp,
};
use serde_json::json;

use super::plan::{self, Verdict};

#[test]
fn verdicts() {
    let now: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
    let taint = |key: &str, effect: &str, added: &str| json!({"key": key, "effect": effect, "timeAdded": added});
    let tolerate = |key: &str, seconds: Option<i64>| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds});
    let early = "2026-01-01T00:00:00Z";
    let late = "2026-01-01T00:09:00Z";
    for (tolerations, taints, created, want) in [
        (json!([]), json!([]), early, Verdict::Stay),
        (json!([]), json!([taint("a", "NoSchedule", early)]), early, Verdict::Stay),
        (json!([]), json!([taint("a", "NoExecute", early)]), early, Verdict::Evict),
        (json!([tolerate("a", None)]), json!([taint("a", "NoExecute", early)]), early, Verdict::Stay),
        (
            json!([tolerate("a", None)]),
            json!([taint("a", "NoExecute", early), taint("b", "NoExecute", early)]),
            early,
            Verdict::Evict,
        ),
        (json!([tolerate("a", Some(300))]), json!([taint("a", "NoExecute", late)]), early, Verdict::Later(240)),
        (json!([tolerate("a", Some(300))]), json!([taint("a", "NoExecute", early)]), early, Verdict::Evict),
        (json!([tolerate("a", Some(300))]), json!([taint("a", "NoExecute", early)]), late, Verdict::Later(240)),
        (json!([tolerate("a", Some(0))]), json!([taint("a", "NoExecute", late)]), early, Verdict::Evict),
        (
            json!([tolerate("a", Some(600)), tolerate("b", Some(90))]),
            json!([taint("a", "NoExecute", late), taint("b", "NoExecute", early)]),
            early,
            Verdict::Later(30),
        ),
    ] {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"creationTimestamp": created}, "spec": {"containers": [], "tolerations": tolerations}}))
        .unwrap();
        let all: Vec<Taint> = serde_json::from_value(taints.clone()).unwrap();
        assert_eq!(plan::verdict(&pod, &all, now), want, "{tolerations} {taints}");
    }
}

#[test]
fn what_ends_anyway_is_left_alone() {
    let taint: Taint = serde_json::from_value(json!({"key": "a", "effect": "NoExecute"})).unwrap();
    for pod in [
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
        json!({"metadata": {}, "status": {"phase": "Succeeded"}}),
    ] {
        let pod: Pod = serde_json::from_value(pod).unwrap();
        assert_eq!(plan::verdict(&pod, std::slice::from_ref(&taint), Timestamp::UNIX_EPOCH), Verdict::Stay);
    }
}
