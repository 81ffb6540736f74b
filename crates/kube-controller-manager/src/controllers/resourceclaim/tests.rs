use std::sync::Arc;

use api_types::k8s_openapi::api::{
    core::v1::{Pod, PodResourceClaim},
    resource::v1::{ResourceClaim, ResourceClaimTemplate},
};
use kube::ResourceExt;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::plan::{self, Cleanup, Step};

fn object<T: DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).unwrap()
}

fn pod(status: Value) -> Pod {
    object(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "status": status,
        "spec": {"containers": [], "resourceClaims": [{"name": "own", "resourceClaimName": "theirs"}, {"name": "gpu", "resourceClaimTemplateName": "t"}]}}))
}

fn made(name: &str, for_claim: &str) -> Arc<ResourceClaim> {
    Arc::new(object(json!({"metadata": {"name": name, "annotations": {plan::ANNOTATION: for_claim}}, "spec": {}})))
}

#[test]
fn a_claim_is_made_once_and_remembered() {
    let reference = |pod: &Pod, at: usize| -> PodResourceClaim {
        pod.spec.as_ref().and_then(|s| s.resource_claims.as_ref()).map(|c| c[at].clone()).unwrap()
    };
    let statuses = |name: Value| json!({"resourceClaimStatuses": [{"name": "gpu", "resourceClaimName": name}]});
    let table = [
        (json!({}), vec![], Step::Make("t".to_owned())),
        (json!({}), vec![made("p-gpu-x", "gpu")], Step::Remember("p-gpu-x".to_owned())),
        (json!({}), vec![made("p-other-x", "other")], Step::Make("t".to_owned())),
        (statuses(json!("p-gpu-x")), vec![made("p-gpu-x", "gpu")], Step::Nothing),
        (statuses(json!("p-gpu-x")), vec![], Step::Make("t".to_owned())),
        (statuses(Value::Null), vec![], Step::Nothing),
    ];
    for (status, owned, want) in table {
        let pod = pod(status.clone());
        assert_eq!(plan::step(&pod, &reference(&pod, 0), &owned), Step::Nothing, "one that is named needs nothing");
        assert_eq!(plan::step(&pod, &reference(&pod, 1), &owned), want, "{status}");
    }
    assert_eq!(plan::claim_names(&pod(statuses(json!("p-gpu-x")))), ["theirs", "p-gpu-x"]);
}

#[test]
fn the_claim_is_the_template_and_the_pods() {
    let template: ResourceClaimTemplate = object(json!({"metadata": {"name": "t"}, "spec": {
        "metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}, "spec": {"devices": {"requests": [{"name": "r"}]}}}}));
    let claim = plan::claim(&pod(json!({})), "gpu", &template);
    assert_eq!(claim.metadata.generate_name.as_deref(), Some("p-gpu-"));
    assert_eq!((claim.labels()["a"].as_str(), claim.annotations()[plan::ANNOTATION].as_str()), ("b", "gpu"));
    let owner = &claim.owner_references()[0];
    assert_eq!((owner.kind.as_str(), owner.uid.as_str(), owner.controller), ("Pod", "u", Some(true)));
    assert_eq!(claim.spec, template.spec.spec);
    let long: Pod = object(json!({"metadata": {"name": "x".repeat(60)}}));
    let name = plan::claim(&long, &"y".repeat(30), &template).metadata.generate_name.unwrap();
    assert!(name.len() <= 57 && name.starts_with("xxx") && name.ends_with("yyy"), "{name}");
}

#[test]
fn claims_are_given_up_with_their_last_user() {
    let claim = |users: usize, more: Value| -> ResourceClaim {
        let users: Vec<_> =
            (0..users).map(|n| json!({"resource": "pods", "name": n.to_string(), "uid": n.to_string()})).collect();
        let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true}]);
        let mut claim = json!({"metadata": {"name": "c", "namespace": "n", "finalizers": [plan::FINALIZER], "ownerReferences": owner},
            "spec": {}, "status": {"allocation": {}, "reservedFor": users}});
        claim["metadata"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        object(claim)
    };
    let deleted = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
    let nothing = Cleanup::default;
    let gives_up = |users| Cleanup { users, deallocate: true, unprotect: true, delete: false };
    let one = plan::users(&claim(1, json!({}))).to_vec();
    let table = [
        (claim(1, json!({})), one.clone(), nothing()),
        (claim(2, json!({})), one.clone(), Cleanup { users: Some(one.clone()), ..nothing() }),
        (claim(1, json!({})), vec![], gives_up(Some(vec![]))),
        (claim(0, json!({})), vec![], nothing()),
        (claim(0, deleted.clone()), vec![], gives_up(None)),
        (claim(1, deleted), one, nothing()),
    ];
    for (claim, left, want) in table {
        assert_eq!(plan::cleanup(&claim, left.clone(), None), want, "{claim:?}");
    }
    let running = pod(json!({"phase": "Running"}));
    let done = pod(json!({"phase": "Succeeded"}));
    let another: Pod = object(json!({"metadata": {"name": "p", "uid": "other"}}));
    let unused = || claim(0, json!({}));
    assert!(!plan::cleanup(&unused(), vec![], Some(&running)).delete);
    assert!(plan::cleanup(&unused(), vec![], Some(&done)).delete);
    assert!(plan::cleanup(&unused(), vec![], Some(&another)).delete);
}

#[test]
fn only_pods_beside_the_scheduler_are_entered() {
    let allocated = |users: Value| -> ResourceClaim {
        object(json!({"metadata": {}, "spec": {}, "status": {"allocation": {}, "reservedFor": users}}))
    };
    let pod = pod(json!({}));
    assert!(plan::wants_reservation(&pod, &allocated(json!([]))));
    assert!(!plan::wants_reservation(&pod, &allocated(json!([{"resource": "pods", "name": "p", "uid": "u"}]))));
    assert!(!plan::wants_reservation(&pod, &object(json!({"metadata": {}, "spec": {}}))), "it has no devices yet");
}
