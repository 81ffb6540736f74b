//! Single kinds with rules of their own: namespaces, config maps and secrets, nodes, events, budgets, claims, cycles of owners.

use serde_json::{Value, json};

use crate::session::{BOTH, Form, on_cluster};

const NAMESPACES: &str = "/api/v1/namespaces";
const MAPS: &str = "/api/v1/namespaces/test/configmaps";

#[test]
fn a_namespace_has_finalizers_of_its_own() {
    on_cluster(&BOTH, |session| async move {
        let path = format!("{NAMESPACES}/life");
        let mut created = session.create(NAMESPACES, json!({"metadata": {"name": "life"}})).await;
        assert_eq!(created["metadata"]["labels"]["kubernetes.io/metadata.name"], "life");
        let status = session
            .merge(
                &format!("{path}/status"),
                json!({"status": {"conditions": [
            {"type": "StatusPatch", "status": "True", "reason": "E2E", "message": "m"}]}}),
            )
            .await
            .is(200);
        assert_eq!(status["status"]["conditions"][0]["type"], "StatusPatch");
        session.merge(&path, json!({"metadata": {"labels": {"testLabel": "testValue"}}})).await.is(200);
        created["spec"]["finalizers"].as_array_mut().unwrap().push("e2e.example.com/fake".into());
        created["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        let held = session.put(&format!("{path}/finalize"), created).await.is(200);
        assert_eq!(held["spec"]["finalizers"], json!(["kubernetes", "e2e.example.com/fake"]));
        session.delete(&path).await.is(200);
        let mut left = session
            .wait_for(&path, |n| {
                n["status"]["phase"] == "Terminating" && n["spec"]["finalizers"] == json!(["e2e.example.com/fake"])
            })
            .await;
        left["spec"]["finalizers"] = json!([]);
        session.put(&format!("{path}/finalize"), left).await.is(200);
        session.wait_gone(&path).await;
    });
}

#[test]
fn data_with_wrong_keys_or_of_the_immutable() {
    on_cluster(&BOTH, |session| async move {
        for (path, kind) in [(MAPS, "ConfigMap"), ("/api/v1/namespaces/test/secrets", "Secret")] {
            let body = |name: &str, key: &str| {
                let mut data = serde_json::Map::new();
                data.insert(key.to_owned(), "dmFsdWU=".into());
                json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "data": data})
            };
            session.post(path, body("empty", "")).await.says(422, "Invalid value: \"\"");
            let fixed = format!("{path}/fixed");
            session.create(path, body("fixed", "key")).await;
            session.merge(&fixed, json!({"immutable": true})).await.is(200);
            let refused = session.merge(&fixed, json!({"data": {"key": "b3RoZXI="}})).await;
            refused.says(422, "field is immutable when `immutable` is set");
            session
                .merge(&fixed, json!({"immutable": false}))
                .await
                .says(422, "field is immutable when `immutable` is set");
            session.merge(&fixed, json!({"metadata": {"labels": {"a": "b"}}})).await.is(200);
            session.delete(&fixed).await.is(200);
        }
    });
}

#[test]
fn a_node_lives_without_a_machine() {
    on_cluster(&BOTH, |session| async move {
        let body = json!({"metadata": {"name": "fake"}, "status": {"phase": "Running", "capacity": {"cpu": "1", "pods": "10"},
            "conditions": [{"type": "Ready", "status": "True", "message": "Set from e2e test"}]}});
        session.create("/api/v1/nodes", body).await;
        let path = "/api/v1/nodes/fake";
        let patched = session.strategic(path, json!({"metadata": {"labels": {"fake": "patched"}}})).await.is(200);
        assert_eq!(patched["metadata"]["labels"]["fake"], "patched");
        let status = json!({"status": {"conditions": [{"type": "Ready", "status": "False", "message": "patched"}]}});
        let patched = session.strategic(&format!("{path}/status"), status).await.is(200);
        assert_eq!(patched["status"]["conditions"][0]["message"], "patched");
        session.delete("/api/v1/nodes?labelSelector=fake%3Dpatched").await.is(200);
        session.wait_gone(path).await;
    });
}

#[test]
fn an_event_is_one_object_in_both_groups() {
    on_cluster(&BOTH, |session| async move {
        let body = json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "test"}, "reason": "R",
            "message": "m", "type": "Normal", "source": {"component": "c"}, "firstTimestamp": "2026-01-01T00:00:00Z"});
        session.create("/api/v1/namespaces/test/events", body).await;
        let path = "/apis/events.k8s.io/v1/namespaces/test/events/e";
        let seen = session.get(path).await.is(200);
        assert_eq!((&seen["note"], &seen["regarding"]["name"]), (&json!("m"), &json!("p")));
        session
            .strategic(path, json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}}))
            .await
            .is(200);
        let mut seen = session.get(path).await.is(200);
        assert_eq!(seen["series"]["count"], 2);
        seen["series"] = json!({"count": 100, "lastObservedTime": "2026-01-01T00:00:02.000000Z"});
        session.put(path, seen).await.is(200);
        let core = session.get("/api/v1/namespaces/test/events/e").await.is(200);
        assert_eq!(core["series"]["count"], 100);
        let found = session.list("/api/v1/events?fieldSelector=involvedObject.name%3Dp,reason%3DR").await;
        assert_eq!(found.len(), 1);
    });
}

#[test]
fn a_budget_counts() {
    on_cluster(&BOTH, |session| async move {
        const BUDGETS: &str = "/apis/policy/v1/namespaces/test/poddisruptionbudgets";
        let spec = json!({"minAvailable": "1%", "selector": {"matchLabels": {"foo": "bar"}}});
        session.create(BUDGETS, json!({"metadata": {"name": "foo"}, "spec": spec})).await;
        let path = format!("{BUDGETS}/foo");
        let seen = |b: &Value| {
            b["status"]["observedGeneration"] == b["metadata"]["generation"]
                && b["status"]["observedGeneration"].is_i64()
        };
        let mut budget = session.wait_for(&path, seen).await;
        budget["spec"]["minAvailable"] = "2%".into();
        session.put(&path, budget).await.is(200);
        let budget = session.wait_for(&path, |b| seen(b) && b["metadata"]["generation"] == 2).await;
        assert_eq!(
            (&budget["status"]["expectedPods"], &budget["status"]["disruptionsAllowed"]),
            (&json!(0), &json!(0))
        );
        session.merge(&path, json!({"spec": {"minAvailable": "3%"}})).await.is(200);
        session.wait_for(&path, |b| seen(b) && b["metadata"]["generation"] == 3).await;
    });
}

#[test]
fn a_volume_and_its_claim_find_each_other() {
    on_cluster(&BOTH, |session| async move {
        let volume = json!({"metadata": {"name": "v", "labels": {"e2e": "v"}}, "spec": {"accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"}, "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "manual",
            "csi": {"driver": "d.example.com", "volumeHandle": "h"}}});
        session.create("/api/v1/persistentvolumes", volume).await;
        let claim = json!({"metadata": {"name": "c", "labels": {"e2e": "c"}}, "spec": {"accessModes": ["ReadWriteOnce"],
            "storageClassName": "manual", "volumeName": "v", "resources": {"requests": {"storage": "1Gi"}}}});
        let claims = "/api/v1/namespaces/test/persistentvolumeclaims";
        session.create(claims, claim).await;
        session.wait_for(&format!("{claims}/c"), |c| c["status"]["phase"] == "Bound").await;
        let volume = session.wait_for("/api/v1/persistentvolumes/v", |v| v["status"]["phase"] == "Bound").await;
        assert_eq!(volume["spec"]["claimRef"]["name"], "c");
        let conditions = json!({"status": {"conditions": [{"type": "StatusPatched", "status": "True", "reason": "E2E", "message": "m",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        session.strategic(&format!("{claims}/c/status"), conditions).await.is(200);
        session
            .merge("/api/v1/persistentvolumes/v/status", json!({"status": {"message": "patched", "reason": "E2E"}}))
            .await
            .is(200);
        session.delete(&format!("{claims}?labelSelector=e2e%3Dc")).await.is(200);
        session.wait_gone(&format!("{claims}/c")).await;
        session.wait_for("/api/v1/persistentvolumes/v", |v| v["status"]["phase"] == "Released").await;
        session.delete("/api/v1/persistentvolumes?labelSelector=e2e%3Dv").await.is(200);
        session.wait_gone("/api/v1/persistentvolumes/v").await;
    });
}

#[test]
fn a_circle_of_owners_can_be_deleted() {
    on_cluster(&[Form::Protobuf], |session| async move {
        const NAMES: [&str; 3] = ["one", "two", "three"];
        let mut uids = Vec::new();
        for name in NAMES {
            uids.push(session.create(MAPS, json!({"metadata": {"name": name}})).await["metadata"]["uid"].clone());
        }
        for (at, name) in NAMES.iter().enumerate() {
            let owner = (at + 2) % 3;
            let reference = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": (NAMES[owner]), "uid": uids[owner],
                "controller": true, "blockOwnerDeletion": true}]);
            session.merge(&format!("{MAPS}/{name}"), json!({"metadata": {"ownerReferences": reference}})).await.is(200);
        }
        let options = json!({"propagationPolicy": "Foreground"});
        let answer = session.delete_with(&format!("{MAPS}/one"), options).await;
        assert!(matches!(answer.code, 200 | 202), "{answer:?}");
        for name in NAMES {
            session.wait_gone(&format!("{MAPS}/{name}")).await;
        }
    });
}

#[test]
fn a_priority_class_keeps_its_value() {
    on_cluster(&BOTH, |session| async move {
        const CLASSES: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";
        session.create(CLASSES, json!({"metadata": {"name": "p1"}, "value": 1})).await;
        let path = format!("{CLASSES}/p1");
        session.merge(&path, json!({"value": 2})).await.says(422, "may not be changed in an update");
        let mut class = session.get(&path).await.is(200);
        class["description"] = "updated".into();
        assert_eq!(session.put(&path, class).await.is(200)["description"], "updated");
        assert_eq!(session.get(&path).await.is(200)["value"], 1);
    });
}

#[test]
fn a_pod_that_no_node_takes_says_why() {
    on_cluster(&BOTH, |session| async move {
        let pod = json!({"metadata": {"name": "restricted"}, "spec": {"nodeSelector": {"label": "nonempty"},
            "containers": [{"name": "c", "image": "i"}]}});
        session.create("/api/v1/namespaces/test/pods", pod).await;
        let condition = |pod: &Value| {
            pod["status"]["conditions"].as_array().is_some_and(|c| {
                c.iter()
                    .any(|c| c["type"] == "PodScheduled" && c["status"] == "False" && c["reason"] == "Unschedulable")
            })
        };
        session.wait_for("/api/v1/namespaces/test/pods/restricted", condition).await;
        let events = "/api/v1/namespaces/test/events?fieldSelector=reason%3DFailedScheduling";
        session.wait_for(events, |list| list["items"].as_array().is_some_and(|i| !i.is_empty())).await;
    });
}
