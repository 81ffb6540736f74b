//! Tables over the plan.

use std::sync::Arc;

use api_types::k8s_openapi::{
    api::{
        core::v1::Pod,
        resource::v1::{ResourceClaim, ResourceSlice},
    },
    jiff::Timestamp,
};
use serde_json::{Value, json};

use super::plan;
use crate::controllers::tainteviction::plan::Verdict;

const NOW: &str = "2026-01-01T00:10:00Z";
const MINUTE_AGO: &str = "2026-01-01T00:09:00Z";

fn slice(generation: i64, device: &str, taints: Value) -> Arc<ResourceSlice> {
    let slice = json!({"spec": {"driver": "d", "pool": {"name": "p", "generation": generation, "resourceSliceCount": 1},
        "devices": [{"name": device, "taints": taints}]}});
    Arc::new(serde_json::from_value(slice).unwrap())
}

fn verdict(pod: Value, tolerations: Value, slices: &[Arc<ResourceSlice>]) -> Verdict {
    let device = json!({"request": "r", "driver": "d", "pool": "p", "device": "x", "tolerations": tolerations});
    let allocation = json!({"allocationTimestamp": MINUTE_AGO, "devices": {"results": [device]}});
    let claim = json!({"spec": {}, "status": {"allocation": allocation}});
    let claim: ResourceClaim = serde_json::from_value(claim).unwrap();
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let now: Timestamp = NOW.parse().unwrap();
    plan::verdict(&pod, &[Arc::new(claim)], |device| plan::taints(slices, &device.device), now)
}

fn running() -> Value {
    json!({"spec": {"nodeName": "n", "containers": []}})
}

#[test]
fn pods_leave_for_taints_that_their_claims_do_not_tolerate() {
    let taint =
        |effect: &str, added: Value| json!([{"key": "sick", "value": "yes", "effect": effect, "timeAdded": added}]);
    let exists = |seconds: Value| json!({"operator": "Exists", "tolerationSeconds": seconds});
    let sick = taint("NoExecute", json!(MINUTE_AGO));
    for (tolerations, taints, want) in [
        (json!([]), json!([]), Verdict::Stay),
        (json!([]), taint("NoSchedule", json!(MINUTE_AGO)), Verdict::Stay),
        (json!([]), sick.clone(), Verdict::Evict),
        (json!([exists(Value::Null)]), sick.clone(), Verdict::Stay),
        (json!([exists(json!(90))]), sick.clone(), Verdict::Later(30)),
        (json!([exists(json!(90)), exists(json!(70))]), sick.clone(), Verdict::Later(10)),
        (json!([exists(json!(90)), exists(Value::Null)]), sick.clone(), Verdict::Stay),
        (json!([exists(json!(30))]), sick.clone(), Verdict::Evict),
        (json!([{"key": "sick", "operator": "Equal", "value": "no"}]), sick.clone(), Verdict::Evict),
        (json!([{"key": "sick", "value": "yes", "effect": "NoExecute"}]), sick.clone(), Verdict::Stay),
        (json!([{"key": "other", "operator": "Exists"}]), sick, Verdict::Evict),
        (json!([exists(json!(90))]), taint("NoExecute", Value::Null), Verdict::Later(30)),
    ] {
        assert_eq!(
            verdict(running(), tolerations.clone(), &[slice(1, "x", taints.clone())]),
            want,
            "{tolerations} {taints}"
        );
    }
}

#[test]
fn only_the_newest_generation_of_the_pool_counts() {
    let sick = json!([{"key": "sick", "effect": "NoExecute", "timeAdded": MINUTE_AGO}]);
    for (slices, want) in [
        (vec![slice(1, "x", sick.clone()), slice(2, "x", json!([]))], Verdict::Stay),
        (vec![slice(2, "x", sick.clone()), slice(1, "x", json!([]))], Verdict::Evict),
        (vec![slice(1, "other", sick)], Verdict::Stay),
    ] {
        assert_eq!(verdict(running(), json!([]), &slices), want, "{slices:?}");
    }
}

#[test]
fn pods_that_do_not_run_or_leave_anyway_are_left_alone() {
    let sick = slice(1, "x", json!([{"key": "sick", "effect": "NoExecute", "timeAdded": MINUTE_AGO}]));
    for pod in [
        json!({"spec": {"containers": []}}),
        json!({"metadata": {"deletionTimestamp": NOW}, "spec": {"nodeName": "n", "containers": []}}),
        json!({"spec": {"nodeName": "n", "containers": []}, "status": {"phase": "Succeeded"}}),
    ] {
        assert_eq!(verdict(pod.clone(), json!([]), std::slice::from_ref(&sick)), Verdict::Stay, "{pod}");
    }
}
