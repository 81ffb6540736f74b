//! Tables over the graph and the decisions.

use api_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};

use super::{
    FOREGROUND, ORPHAN,
    graph::{Graph, Work},
    monitors,
    plan::{self, Decision, Owner, Propagation},
};
use crate::discovery::{Discovered, Served};

fn owner(uid: &str, block: bool) -> OwnerReference {
    OwnerReference {
        uid: uid.into(),
        name: uid.into(),
        kind: "K".into(),
        block_owner_deletion: Some(block),
        ..Default::default()
    }
}

fn meta(uid: &str, owners: &[&str]) -> ObjectMeta {
    let owners = owners.iter().map(|uid| owner(uid, true)).collect();
    ObjectMeta { uid: Some(uid.into()), name: Some(uid.into()), owner_references: Some(owners), ..Default::default() }
}

fn deleting(uid: &str, owners: &[&str], finalizer: &str) -> ObjectMeta {
    ObjectMeta {
        deletion_timestamp: Some(Time(component_base::clock::now())),
        finalizers: Some(vec![finalizer.to_owned()]),
        ..meta(uid, owners)
    }
}

fn look_at(uids: &[&str]) -> Work {
    Work { delete: uids.iter().map(|u| (*u).to_owned()).collect(), orphan: vec![] }
}

#[test]
fn an_unknown_owner_is_looked_up_once_and_a_seen_one_not() {
    let mut graph = Graph::default();
    assert_eq!(graph.upsert("v1", "K", &meta("child", &["owner"])), look_at(&["owner"]));
    assert_eq!(graph.upsert("v1", "K", &meta("child2", &["owner"])), look_at(&[]));
    assert!(graph.get("owner").unwrap().is_virtual);
    assert_eq!(graph.upsert("v1", "K", &meta("owner", &[])), look_at(&[]));
    let node = graph.get("owner").unwrap();
    assert!(!node.is_virtual && node.dependents.len() == 2);
}

#[test]
fn dependents_follow_a_deleted_owner() {
    let mut graph = Graph::default();
    graph.upsert("v1", "K", &meta("owner", &[]));
    graph.upsert("v1", "K", &meta("a", &["owner"]));
    graph.upsert("v1", "K", &meta("b", &["owner"]));
    assert_eq!(graph.remove("owner"), look_at(&["a", "b"]));
    assert_eq!(graph.remove("owner"), look_at(&[]));
}

#[test]
fn foreground_deletion_looks_at_dependents_and_then_at_the_owner() {
    let mut graph = Graph::default();
    graph.upsert("v1", "K", &meta("owner", &[]));
    graph.upsert("v1", "K", &meta("a", &["owner"]));
    assert_eq!(graph.upsert("v1", "K", &deleting("owner", &[], FOREGROUND)), look_at(&["a", "owner"]));
    assert_eq!(graph.upsert("v1", "K", &deleting("owner", &[], FOREGROUND)), look_at(&[]), "once");
    assert_eq!(graph.blocking("owner"), [("a".to_owned(), false)]);
    graph.upsert("v1", "K", &deleting("a", &["owner"], FOREGROUND));
    assert_eq!(graph.blocking("owner"), [("a".to_owned(), true)]);
    assert_eq!(graph.remove("a"), look_at(&["owner"]));
    assert!(graph.blocking("owner").is_empty());
    // A late dependent is looked at, too.
    assert_eq!(graph.upsert("v1", "K", &meta("late", &["owner"])), look_at(&["late"]));
}

#[test]
fn a_dependent_that_does_not_block_is_not_waited_for() {
    let mut graph = Graph::default();
    graph.upsert("v1", "K", &meta("owner", &[]));
    let free = ObjectMeta { owner_references: Some(vec![owner("owner", false)]), ..meta("a", &[]) };
    graph.upsert("v1", "K", &free);
    assert!(graph.blocking("owner").is_empty());
}

#[test]
fn orphaning_and_lost_references() {
    let mut graph = Graph::default();
    graph.upsert("v1", "K", &meta("a", &["ghost"]));
    assert!(graph.get("ghost").is_some());
    graph.upsert("v1", "K", &meta("a", &[]));
    assert!(graph.get("ghost").is_none(), "nobody refers to it any more");
    let work = graph.upsert("v1", "K", &deleting("owner", &[], ORPHAN));
    assert_eq!((work.orphan, work.delete), (vec!["owner".to_owned()], vec![]));
}

#[test]
fn decisions() {
    use Owner::{Dangling, Solid, Waiting};
    let delete = |propagation, unblock| Decision::Delete { propagation, unblock };
    let two = meta("x", &["a", "b"]);
    let one = meta("x", &["a"]);
    for (meta, owners, waits, circle, want) in [
        (&meta("x", &[]), &[][..], false, false, Decision::Keep),
        (&one, &[Solid], true, true, Decision::Keep),
        (&two, &[Solid, Dangling], false, false, Decision::Patch(vec![owner("a", true)])),
        (&two, &[Waiting, Solid], true, false, Decision::Patch(vec![owner("b", true)])),
        (&one, &[Dangling], true, false, delete(Propagation::Background, false)),
        (&one, &[Waiting], false, false, delete(Propagation::Background, false)),
        (&one, &[Waiting], true, false, delete(Propagation::Foreground, false)),
        (&one, &[Waiting], true, true, delete(Propagation::Foreground, true)),
        (&deleting("x", &["a"], ORPHAN), &[Dangling], false, false, delete(Propagation::Orphan, false)),
        (&deleting("x", &["a"], FOREGROUND), &[Dangling], false, false, delete(Propagation::Foreground, false)),
    ] {
        assert_eq!(plan::decide(meta, owners, waits, circle), want, "{owners:?}");
    }
}

#[test]
fn owners_are_who_they_were() {
    let reference = owner("a", true);
    assert_eq!(plan::owner(&reference, None), Owner::Dangling);
    assert_eq!(plan::owner(&reference, Some(&meta("other", &[]))), Owner::Dangling);
    assert_eq!(plan::owner(&reference, Some(&meta("a", &[]))), Owner::Solid);
    assert_eq!(plan::owner(&reference, Some(&deleting("a", &[], FOREGROUND))), Owner::Waiting);
    assert_eq!(plan::owner(&reference, Some(&deleting("a", &[], ORPHAN))), Owner::Solid);
}

#[test]
fn events_and_what_cannot_be_watched_are_not_collected() {
    let resource = |group: &str, plural: &str, verbs: &[&str]| Discovered {
        group: group.into(),
        version: "v1".into(),
        kind: "K".into(),
        plural: plural.into(),
        namespaced: true,
        verbs: verbs.iter().map(|v| (*v).to_owned()).collect(),
        versions: vec![],
    };
    let all = ["delete", "list", "watch"];
    let served = Served {
        resources: vec![
            resource("", "events", &all),
            resource("events.k8s.io", "events", &all),
            resource("", "pods", &all),
            resource("", "bindings", &["create"]),
        ],
        stale: vec![],
    };
    let names: Vec<_> = monitors::collectable(&served).map(Discovered::group_resource).collect();
    assert_eq!(names, ["pods"]);
}
