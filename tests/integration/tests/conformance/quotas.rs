//! Resource quotas, limit ranges, and what a pod gets and is refused before any node sees it.

use serde_json::{Value, json};

use crate::session::{BOTH, Session, on_cluster};

const QUOTAS: &str = "/api/v1/namespaces/test/resourcequotas";
const PODS: &str = "/api/v1/namespaces/test/pods";

fn pod(name: &str, resources: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]}})
}

/// Waits until the quota counts these.
async fn used(session: &Session, quota: &str, wanted: Value) {
    let counts =
        |found: &Value| wanted.as_object().unwrap().iter().all(|(name, count)| found["status"]["used"][name] == *count);
    session.wait_for(&format!("{QUOTAS}/{quota}"), counts).await;
}

#[test]
fn a_quota_follows_the_life_of_objects() {
    on_cluster(&BOTH, |session| async move {
        let hard = json!({"pods": "5", "services": "10", "services.nodeports": "1", "services.loadbalancers": "1",
            "replicationcontrollers": "10", "resourcequotas": "1", "configmaps": "10", "secrets": "10", "cpu": "1",
            "memory": "500Mi", "persistentvolumeclaims": "10", "requests.storage": "10Gi", "count/replicasets.apps": "5",
            "requests.ephemeral-storage": "50Gi"});
        session.create(QUOTAS, json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).await;
        // The namespace has the config map of the cluster's CA.
        used(&session, "q", json!({"resourcequotas": "1", "configmaps": "1", "secrets": "0", "pods": "0", "cpu": "0"}))
            .await;

        for (path, object, name, counts) in [
            (
                "/api/v1/namespaces/test/services",
                json!({"spec": {"ports": [{"port": 80}]}}),
                "s",
                json!({"services": "1"}),
            ),
            ("/api/v1/namespaces/test/secrets", json!({"data": {"a": "Yg=="}}), "s", json!({"secrets": "1"})),
            ("/api/v1/namespaces/test/configmaps", json!({"data": {"a": "b"}}), "m", json!({"configmaps": "2"})),
            (
                "/api/v1/namespaces/test/persistentvolumeclaims",
                json!({"spec": {"accessModes": ["ReadWriteOnce"],
                "storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}}}),
                "c",
                json!({"persistentvolumeclaims": "1", "requests.storage": "1Gi"}),
            ),
            (
                "/api/v1/namespaces/test/replicationcontrollers",
                json!({"spec": {"replicas": 0, "selector": {"a": "b"}, "template": {
                "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}),
                "r",
                json!({"replicationcontrollers": "1"}),
            ),
            (
                "/apis/apps/v1/namespaces/test/replicasets",
                json!({"spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}),
                "r",
                json!({"count/replicasets.apps": "1"}),
            ),
        ] {
            let mut object = object;
            object["metadata"] = json!({"name": name});
            session.create(path, object).await;
            used(&session, "q", counts).await;
            session.delete(&format!("{path}/{name}")).await.is(200);
        }
        used(
            &session,
            "q",
            json!({"services": "0", "secrets": "0", "configmaps": "1", "replicationcontrollers": "0",
            "count/replicasets.apps": "0", "persistentvolumeclaims": "0", "requests.storage": "0"}),
        )
        .await;
    });
}

#[test]
fn pods_are_admitted_within_their_quota() {
    on_cluster(&BOTH, |session| async move {
        let hard = json!({"pods": "5", "cpu": "1", "memory": "500Mi"});
        session.create(QUOTAS, json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).await;
        used(&session, "q", json!({"pods": "0"})).await;
        let requests = |cpu: &str, memory: &str| json!({"requests": {"cpu": cpu, "memory": memory}});
        session.create(PODS, typed(pod("fits", requests("500m", "252Mi")))).await;
        used(&session, "q", json!({"pods": "1", "cpu": "500m", "memory": "252Mi"})).await;
        let refused = session.post(PODS, typed(pod("large", requests("600m", "100Mi")))).await;
        refused.says(403, "exceeded quota: q, requested: cpu=600m, used: cpu=500m, limited: cpu=1");
        let refused = session.post(PODS, typed(pod("vague", json!({})))).await;
        refused.says(403, "failed quota: q: must specify cpu for: c; memory for: c");
        let more = json!({"spec": {"containers": [{"name": "c", "resources": requests("700m", "252Mi")}]}});
        session.strategic(&format!("{PODS}/fits"), more).await.is(422);
        session.delete_with(&format!("{PODS}/fits"), json!({"gracePeriodSeconds": 0})).await.is(200);
        used(&session, "q", json!({"pods": "0", "cpu": "0", "memory": "0"})).await;
    });
}

fn typed(mut object: Value) -> Value {
    object["apiVersion"] = "v1".into();
    object["kind"] = "Pod".into();
    object
}

#[test]
fn scopes_choose_the_pods() {
    on_cluster(&BOTH, |session| async move {
        for scope in ["Terminating", "NotTerminating", "BestEffort", "NotBestEffort"] {
            let quota =
                json!({"metadata": {"name": scope.to_lowercase()}, "spec": {"hard": {"pods": "5"}, "scopes": [scope]}});
            session.create(QUOTAS, quota).await;
            used(&session, &scope.to_lowercase(), json!({"pods": "0"})).await;
        }
        let mut short = pod("short", json!({"requests": {"cpu": "100m"}}));
        short["spec"]["activeDeadlineSeconds"] = 3600.into();
        session.create(PODS, short).await;
        used(&session, "terminating", json!({"pods": "1"})).await;
        used(&session, "notbesteffort", json!({"pods": "1"})).await;
        session.create(PODS, pod("long", json!({}))).await;
        used(&session, "notterminating", json!({"pods": "1"})).await;
        used(&session, "besteffort", json!({"pods": "1"})).await;
        for (name, left) in [("short", "terminating"), ("long", "besteffort")] {
            session.delete_with(&format!("{PODS}/{name}"), json!({"gracePeriodSeconds": 0})).await.is(200);
            used(&session, left, json!({"pods": "0"})).await;
        }
    });
}

#[test]
fn a_quota_can_be_changed_and_deleted() {
    on_cluster(&BOTH, |session| async move {
        let body = json!({"metadata": {"name": "q", "labels": {"a": "b"}}, "spec": {"hard": {"cpu": "500m"}}});
        session.create(QUOTAS, body).await;
        let path = format!("{QUOTAS}/q");
        let mut found = session.wait_for(&path, |q| q["status"]["hard"]["cpu"] == "500m").await;
        found["spec"]["hard"] = json!({"cpu": "1", "memory": "1Gi"});
        session.put(&path, found).await.is(200);
        session.wait_for(&path, |q| q["status"]["hard"]["memory"] == "1Gi").await;
        // What somebody else writes into the status is put right.
        session.merge(&format!("{path}/status"), json!({"status": {"hard": {"memory": "7Gi"}}})).await.is(200);
        session.wait_for(&path, |q| q["status"]["hard"]["memory"] == "1Gi").await;
        session.delete(&format!("{QUOTAS}?labelSelector=a%3Db")).await.is(200);
        session.wait_gone(&path).await;
    });
}

#[test]
fn limit_ranges_give_defaults_and_bounds() {
    on_cluster(&BOTH, |session| async move {
        let limits = json!([{"type": "Container",
            "min": {"cpu": "50m", "memory": "100Mi"}, "max": {"cpu": "500m", "memory": "500Mi"},
            "default": {"cpu": "500m", "memory": "500Mi"}, "defaultRequest": {"cpu": "100m", "memory": "200Mi"}}]);
        session
            .create(
                "/api/v1/namespaces/test/limitranges",
                json!({"metadata": {"name": "l"}, "spec": {"limits": limits}}),
            )
            .await;
        let resources = |object: &Value| object["spec"]["containers"][0]["resources"].clone();
        let created = session.create(PODS, pod("none", json!({}))).await;
        let wanted =
            json!({"requests": {"cpu": "100m", "memory": "200Mi"}, "limits": {"cpu": "500m", "memory": "500Mi"}});
        assert_eq!(resources(&created), wanted);
        let part = json!({"requests": {"cpu": "300m"}, "limits": {"cpu": "300m"}});
        let created = session.create(PODS, pod("part", part)).await;
        let wanted =
            json!({"requests": {"cpu": "300m", "memory": "200Mi"}, "limits": {"cpu": "300m", "memory": "500Mi"}});
        assert_eq!(resources(&created), wanted);
        let low = typed(pod("low", json!({"requests": {"cpu": "10m", "memory": "50Mi"}})));
        session.post(PODS, low).await.says(403, "minimum cpu usage per Container is 50m, but request is 10m");
        let high = typed(pod("high", json!({"limits": {"cpu": "600m", "memory": "600Mi"}})));
        session.post(PODS, high).await.says(403, "maximum cpu usage per Container is 500m, but limit is 600m");
    });
}

#[test]
fn pods_get_their_class_of_service() {
    on_cluster(&BOTH, |session| async move {
        for (name, resources, class) in [
            (
                "guaranteed",
                json!({"requests": {"cpu": "100m", "memory": "100Mi"}, "limits": {"cpu": "100m", "memory": "100Mi"}}),
                "Guaranteed",
            ),
            ("burstable", json!({"requests": {"cpu": "100m"}}), "Burstable"),
            ("besteffort", json!({}), "BestEffort"),
        ] {
            assert_eq!(session.create(PODS, pod(name, resources)).await["status"]["qosClass"], class);
        }
    });
}

#[test]
fn runtime_classes_are_looked_up() {
    on_cluster(&BOTH, |session| async move {
        let of = |name: &str, class: &str| {
            let mut pod = typed(pod(name, json!({})));
            pod["spec"]["runtimeClassName"] = class.into();
            pod
        };
        session.post(PODS, of("p", "none")).await.says(403, "pod rejected: RuntimeClass \"none\" not found");
        let class = json!({"metadata": {"name": "heavy"}, "handler": "h", "overhead": {"podFixed": {"cpu": "10m", "memory": "1Mi"}}});
        session.create("/apis/node.k8s.io/v1/runtimeclasses", class).await;
        session
            .create("/apis/node.k8s.io/v1/runtimeclasses", json!({"metadata": {"name": "light"}, "handler": "h"}))
            .await;
        let created = session.create(PODS, of("heavy", "heavy")).await;
        assert_eq!(created["spec"]["overhead"], json!({"cpu": "10m", "memory": "1Mi"}));
        assert!(session.create(PODS, of("light", "light")).await["spec"].get("overhead").is_none());
        session.delete("/apis/node.k8s.io/v1/runtimeclasses/light").await.is(200);
        session.post(PODS, of("late", "light")).await.is(403);
    });
}

#[test]
fn what_no_node_would_take_is_refused() {
    on_cluster(&BOTH, |session| async move {
        let mut sysctls = typed(pod("sysctls", json!({})));
        sysctls["spec"]["securityContext"] = json!({"sysctls": [{"name": "foo-", "value": "bar"}, {"name": "kernel.shmmax", "value": "1"},
            {"name": "safe-and-unsafe", "value": "1"}, {"name": "bar..", "value": "42"}]});
        let refused = session.post(PODS, sysctls).await.is(422);
        let said = refused["message"].as_str().unwrap();
        for name in ["foo-", "bar.."] {
            assert!(said.contains(&format!("Invalid value: \"{name}\"")), "{said}");
        }
        assert!(!said.contains("safe-and-unsafe") && !said.contains("kernel.shmmax"), "{said}");
        let mut inline = pod("inline", json!({}));
        inline["spec"]["volumes"] = json!([{"name": "v", "csi": {"driver": "d.example.com", "readOnly": true, "fsType": "ext4",
            "volumeAttributes": {"a": "b"}}}]);
        let created = session.create(PODS, inline).await;
        assert_eq!(created["spec"]["volumes"][0]["csi"]["driver"], "d.example.com");
    });
}
