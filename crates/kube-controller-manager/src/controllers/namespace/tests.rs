//! Tables over the plan.

use api_types::k8s_openapi::{
    api::core::v1::{Namespace, NamespaceStatus},
    jiff::Timestamp,
};
use serde_json::json;

use super::plan::{self, Remains, Step};
use crate::discovery::{Discovered, Served};

fn namespace(value: serde_json::Value) -> Namespace {
    serde_json::from_value(value).unwrap()
}

#[test]
fn steps() {
    let deleted = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
    let ours = json!({"finalizers": ["kubernetes", "other"]});
    for (value, want) in [
        (json!({"metadata": {}, "spec": ours}), Step::Nothing),
        (json!({"metadata": deleted, "spec": {"finalizers": ["other"]}}), Step::Nothing),
        (json!({"metadata": deleted, "spec": ours, "status": {"phase": "Active"}}), Step::MarkTerminating),
        (json!({"metadata": deleted, "spec": ours, "status": {"phase": "Terminating"}}), Step::DeleteContent),
    ] {
        assert_eq!(plan::step(&namespace(value.clone())), want, "{value}");
    }
    let finalized = plan::finalized(&namespace(json!({"metadata": {}, "spec": ours})));
    assert_eq!(finalized.spec.unwrap().finalizers.unwrap(), ["other"]);
}

#[test]
fn pods_go_first_and_only_deletable_namespaced_resources_count() {
    let resource = |plural: &str, namespaced, verbs: &[&str]| Discovered {
        group: String::new(),
        version: "v1".into(),
        kind: plural.into(),
        plural: plural.into(),
        namespaced,
        verbs: verbs.iter().map(|v| (*v).to_owned()).collect(),
        versions: vec![],
    };
    let served = Served {
        resources: vec![
            resource("configmaps", true, &["list", "deletecollection"]),
            resource("nodes", false, &["list", "delete"]),
            resource("bindings", true, &["create"]),
            resource("pods", true, &["list", "delete"]),
        ],
        stale: vec![],
    };
    let (first, rest) = plan::deletable(&served);
    let names = |all: &[&Discovered]| all.iter().map(|r| r.plural.clone()).collect::<Vec<_>>();
    assert_eq!((names(&first), names(&rest)), (vec!["pods".to_owned()], vec!["configmaps".to_owned()]));
}

#[test]
fn conditions_tell_what_remains_and_keep_their_times() {
    let at = |s: &str| s.parse::<Timestamp>().unwrap();
    let (early, late) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T00:01:00Z"));
    let mut remains = Remains { estimate: 30, ..Remains::default() };
    assert!(remains.is_empty());
    remains.objects.insert("pods".into(), 2);
    remains.finalizers.insert("example.com/f".into(), 1);
    assert!(!remains.is_empty());
    let status = plan::status(&NamespaceStatus::default(), &remains, early);
    let find = |status: &NamespaceStatus, type_: &str| {
        let conditions = status.conditions.clone().unwrap_or_default();
        let c = conditions.into_iter().find(|c| c.type_ == type_).unwrap();
        (c.status, c.message.unwrap_or_default(), c.last_transition_time.map(|t| t.0))
    };
    let (state, message, _) = find(&status, "NamespaceContentRemaining");
    assert_eq!(
        (state.as_str(), message.as_str()),
        ("True", "Some resources are remaining: pods has 2 resource instances")
    );
    assert_eq!(plan::status(&status, &remains, late), status);
    let done = plan::status(&status, &Remains::default(), late);
    assert_eq!(find(&done, "NamespaceContentRemaining").2, Some(late));
    assert_eq!(find(&done, "NamespaceDeletionContentFailure").2, Some(early));
}

#[test]
fn what_could_not_be_looked_at_is_not_empty() {
    let mut remains = Remains { discovery_error: Some("x".into()), ..Remains::default() };
    assert!(!remains.is_empty());
    remains.discovery_error = None;
    remains.errors.push("configmaps: timeout".into());
    assert!(!remains.is_empty());
}
