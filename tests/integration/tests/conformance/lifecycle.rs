//! "Should support API operations": every kind that the suite names goes through create, get, list, watch, patch, update, its status,
//! delete and delete of a collection.

use serde_json::{Value, json};

use crate::session::{BOTH, Session, on_cluster};

/// One kind: where its objects are, how one looks (`{}` in the text is its number), and a patch of its status.
struct Row {
    api: &'static str,
    plural: &'static str,
    namespaced: bool,
    object: fn(usize) -> Value,
    status: Option<fn() -> Value>,
}

const fn row(api: &'static str, plural: &'static str, namespaced: bool, object: fn(usize) -> Value) -> Row {
    Row { api, plural, namespaced, object, status: None }
}

impl Row {
    const fn with_status(self, status: fn() -> Value) -> Self {
        Self { status: Some(status), ..self }
    }

    fn path(&self) -> String {
        let scope = if self.namespaced { "/namespaces/test" } else { "" };
        format!("{}{scope}/{}", self.api, self.plural)
    }

    fn name(&self, number: usize) -> String {
        let object = (self.object)(number);
        object["metadata"]["name"].as_str().map_or_else(|| format!("it-{number}"), str::to_owned)
    }

    fn body(&self, number: usize) -> Value {
        let mut object = (self.object)(number);
        object["metadata"]["name"] = self.name(number).into();
        object["metadata"]["labels"] = json!({"suite": "lifecycle"});
        object
    }
}

fn pod_template() -> Value {
    json!({"metadata": {"labels": {"app": "x"}}, "spec": {
        "containers": [{"name": "c", "image": "i"}], "restartPolicy": "OnFailure",
    }})
}

fn condition(kind: &str) -> Value {
    json!({"type": kind, "status": "True", "reason": "Suite", "message": "set by a test",
        "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

const ROWS: &[Row] = &[
    row("/api/v1", "configmaps", true, |_| json!({"data": {"a": "b"}})),
    row("/api/v1", "secrets", true, |_| json!({"data": {"a": "Yg=="}, "type": "Opaque"})),
    row("/api/v1", "serviceaccounts", true, |_| json!({"automountServiceAccountToken": false})),
    row("/api/v1", "podtemplates", true, |_| json!({"template": pod_template()})),
    row("/api/v1", "limitranges", true, |_| json!({"spec": {"limits": [{"type": "Pod", "max": {"cpu": "4"}}]}})),
    row("/api/v1", "endpoints", true, |_| {
        json!({"subsets": [{"addresses": [{"ip": "10.0.0.24"}], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}]})
    }),
    row("/api/v1", "events", true, |_| {
        json!({"involvedObject": {"kind": "Pod", "name": "p", "namespace": "test"}, "message": "m", "reason": "R",
            "type": "Normal", "source": {"component": "c"}, "count": 1})
    }),
    row("/api/v1", "services", true, |_| json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}))
        .with_status(|| json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.1", "ipMode": "VIP"}]}})),
    row("/api/v1", "resourcequotas", true, |_| json!({"spec": {"hard": {"example.com/thing": "5"}}}))
        .with_status(|| json!({"hard": {"example.com/thing": "5"}})),
    row("/api/v1", "persistentvolumeclaims", true, |_| {
        json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": ""}})
    })
    .with_status(|| json!({"conditions": [{"type": "StatusPatched", "status": "True"}]})),
    row("/api/v1", "persistentvolumes", false, |_| {
        json!({"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/tmp/x"}}})
    })
    .with_status(|| json!({"message": "StatusPatched", "reason": "Suite"})),
    row("/api/v1", "nodes", false, |_| json!({"spec": {"unschedulable": true}}))
        .with_status(|| json!({"conditions": [condition("Suite")]})),
    row("/apis/admissionregistration.k8s.io/v1", "validatingwebhookconfigurations", false, |_| json!({"webhooks": []})),
    row("/apis/apps/v1", "controllerrevisions", true, |_| json!({"data": {"a": 1}, "revision": 1})),
    row("/apis/batch/v1", "cronjobs", true, |_| {
        json!({"spec": {"schedule": "* */1 * * ?", "suspend": true, "concurrencyPolicy": "Allow",
            "jobTemplate": {"spec": {"template": pod_template()}}}})
    })
    .with_status(|| json!({"lastScheduleTime": "2026-01-01T00:00:00Z"})),
    row("/apis/certificates.k8s.io/v1", "certificatesigningrequests", false, |_| {
        json!({"spec": {"request": CSR, "signerName": "example.com/suite", "usages": ["digital signature", "client auth"],
            "expirationSeconds": 3600}})
    })
    .with_status(|| json!({"conditions": [condition("Failed")]})),
    row("/apis/coordination.k8s.io/v1", "leases", true, |_| {
        json!({"spec": {"holderIdentity": "holder", "leaseDurationSeconds": 30, "acquireTime": "2026-01-01T00:00:00.000000Z"}})
    }),
    row("/apis/discovery.k8s.io/v1", "endpointslices", true, |_| {
        json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80, "name": ""}]})
    }),
    row("/apis/events.k8s.io/v1", "events", true, |_| {
        json!({"eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "c", "reportingInstance": "i", "action": "Do",
            "reason": "R", "type": "Normal", "regarding": {"kind": "Pod", "name": "p", "namespace": "test"}})
    }),
    row("/apis/flowcontrol.apiserver.k8s.io/v1", "flowschemas", false, |_| {
        json!({"spec": {"matchingPrecedence": 10000, "priorityLevelConfiguration": {"name": "global-default"},
            "distinguisherMethod": {"type": "ByUser"}}})
    })
    .with_status(|| json!({"conditions": [condition("Suite")]})),
    row("/apis/flowcontrol.apiserver.k8s.io/v1", "prioritylevelconfigurations", false, |_| {
        json!({"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}}}})
    })
    .with_status(|| json!({"conditions": [condition("Suite")]})),
    row("/apis/networking.k8s.io/v1", "ingresses", true, |_| {
        json!({"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}})
    })
    .with_status(|| json!({"loadBalancer": {"ingress": [{"ip": "169.1.1.1"}]}})),
    row("/apis/networking.k8s.io/v1", "ingressclasses", false, |_| json!({"spec": {"controller": "example.com/controller"}})),
    row("/apis/networking.k8s.io/v1", "ipaddresses", false, |n| {
        json!({"metadata": {"name": format!("192.168.1.{n}")},
            "spec": {"parentRef": {"resource": "services", "name": "kubernetes", "namespace": "default"}}})
    }),
    row("/apis/networking.k8s.io/v1", "servicecidrs", false, |n| json!({"spec": {"cidrs": [format!("10.{n}.77.0/24")]}}))
        .with_status(|| json!({"conditions": [condition("Suite")]})),
    row("/apis/node.k8s.io/v1", "runtimeclasses", false, |_| json!({"handler": "runc"})),
    row("/apis/policy/v1", "poddisruptionbudgets", true, |_| {
        json!({"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}})
    })
    .with_status(|| json!({"conditions": [condition("Suite")]})),
    row("/apis/resource.k8s.io/v1", "deviceclasses", false, |_| {
        json!({"spec": {"selectors": [{"cel": {"expression": "true"}}]}})
    }),
    row("/apis/resource.k8s.io/v1", "resourceclaims", true, |_| {
        json!({"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "none"}}]}}})
    })
    .with_status(|| json!({"allocation": {"devices": {"results": [
        {"request": "r", "driver": "driver.example.com", "pool": "p", "device": "d"}]}}})),
    row("/apis/resource.k8s.io/v1", "resourceclaimtemplates", true, |_| {
        json!({"spec": {"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "none"}}]}}}})
    }),
    row("/apis/resource.k8s.io/v1", "resourceslices", false, |n| {
        json!({"spec": {"driver": "driver.example.com", "nodeName": "n", "pool": {"name": format!("p{n}"), "generation": 1,
            "resourceSliceCount": 1}, "devices": [{"name": "d"}]}})
    }),
    row("/apis/scheduling.k8s.io/v1", "priorityclasses", false, |_| json!({"value": 7})),
    row("/apis/storage.k8s.io/v1", "csidrivers", false, |_| json!({"spec": {"attachRequired": false}})),
    row("/apis/storage.k8s.io/v1", "csinodes", false, |_| {
        json!({"spec": {"drivers": [{"name": "d.example.com", "nodeID": "n", "topologyKeys": null}]}})
    }),
    row("/apis/storage.k8s.io/v1", "csistoragecapacities", true, |_| json!({"storageClassName": "c", "capacity": "1Gi"})),
    row("/apis/storage.k8s.io/v1", "storageclasses", false, |_| json!({"provisioner": "example.com/none"})),
    row("/apis/storage.k8s.io/v1", "volumeattachments", false, |_| {
        json!({"spec": {"attacher": "a.example.com", "nodeName": "n", "source": {"persistentVolumeName": "v"}}})
    })
    .with_status(|| json!({"attached": true})),
    row("/apis/storage.k8s.io/v1", "volumeattributesclasses", false, |_| {
        json!({"driverName": "d.example.com", "parameters": {"a": "b"}})
    }),
];

const OF_SUITE: &str = "labelSelector=suite%3Dlifecycle";

#[test]
fn every_kind_lives() {
    on_cluster(&BOTH, |session| async move {
        for row in ROWS {
            is_discovered(&session, row).await;
            lives(&session, row).await;
        }
    });
}

/// Group, version and resource are where clients look for them.
async fn is_discovered(session: &Session, row: &Row) {
    if let Some((group, version)) = row.api.strip_prefix("/apis/").and_then(|api| api.split_once('/')) {
        let groups = session.get("/apis").await.is(200);
        assert!(groups["groups"].as_array().unwrap().iter().any(|g| g["name"] == group), "{group}");
        let versions = session.get(&format!("/apis/{group}")).await.is(200);
        assert!(versions["versions"].as_array().unwrap().iter().any(|v| v["version"] == version), "{versions}");
    }
    let resources = session.get(row.api).await.is(200);
    let resources = resources["resources"].as_array().unwrap();
    assert!(resources.iter().any(|r| r["name"] == row.plural), "{}", row.plural);
    let status = format!("{}/status", row.plural);
    assert!(row.status.is_none() || resources.iter().any(|r| r["name"] == status), "{status}");
}

async fn lives(session: &Session, row: &Row) {
    let path = row.path();
    let (all, one) = (format!("{path}?{OF_SUITE}"), format!("{path}/{}", row.name(1)));
    let list = session.get(&all).await.is(200);
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    let mut watch = session.watch(&format!("{all}&watch=true&resourceVersion={version}")).await;
    for number in 1..=3 {
        session.create(&path, row.body(number)).await;
        watch.until("ADDED", &row.name(number)).await;
    }
    let created = session.get(&one).await.is(200);
    assert_eq!(session.list(&all).await.len(), 3, "{path}");
    let everywhere = format!("{}/{}?{OF_SUITE}", row.api, row.plural);
    assert_eq!(session.list(&everywhere).await.len(), 3, "{everywhere}");

    let patched = session.merge(&one, json!({"metadata": {"annotations": {"patched": "true"}}})).await.is(200);
    assert_eq!(patched["metadata"]["annotations"]["patched"], "true");
    assert_eq!(patched["metadata"]["uid"], created["metadata"]["uid"]);
    watch.until("MODIFIED", &row.name(1)).await;
    updates(session, &one).await;
    if let Some(status) = row.status {
        changes_status(session, &one, status()).await;
    }
    session.delete(&one).await.is(200);
    watch.until("DELETED", &row.name(1)).await;
    session.wait_gone(&one).await;
    assert_eq!(session.list(&all).await.len(), 2, "{path}");
    // Services are deleted one by one by their clients: the collection can be deleted as well.
    session.delete(&all).await.is(200);
    session.wait_for(&all, |list| list["items"].as_array().is_none_or(Vec::is_empty)).await;
}

/// A whole new body, on what is there now: controllers write too.
async fn updates(session: &Session, one: &str) {
    loop {
        let mut body = session.get(one).await.is(200);
        body["metadata"]["annotations"]["updated"] = "true".into();
        let answer = session.put(one, body).await;
        if answer.code == 409 {
            continue;
        }
        assert_eq!(answer.is(200)["metadata"]["annotations"]["updated"], "true");
        return;
    }
}

/// The status can be read, patched and replaced; the rest of the object can't be changed through it.
async fn changes_status(session: &Session, one: &str, status: Value) {
    let path = format!("{one}/status");
    let before = session.get(&path).await.is(200);
    let patch = json!({"metadata": {"annotations": {"status": "patched"}}, "status": status});
    let patched = session.merge(&path, patch).await.is(200);
    for (field, value) in status.as_object().unwrap() {
        assert!(contains(&patched["status"][field], value), "{path}: {}", patched["status"]);
    }
    assert_eq!(patched["spec"], before["spec"], "{path}");
    let again = session.put(&path, session.get(&path).await.is(200)).await;
    assert!(matches!(again.code, 200 | 409), "{path}: {again:?}");
}

/// Whether `whole` has all that `part` says.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(k, v)| whole.get(k).is_some_and(|w| contains(w, v)))
        }
        (Value::Array(whole), Value::Array(part)) => part.iter().all(|p| whole.iter().any(|w| contains(w, p))),
        _ => whole == part,
    }
}

/// A certificate request of a P-256 key, in base64 of PEM.
pub(crate) const CSR: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIS01ISUNBUUF3RURFT01Bd0dBMVVFQXd3RmMzVnBkR1V3V1RBVEJnY3Foa2pPUFFJQkJn\
    Z3Foa2pPUFFNQgpCd05DQUFUTmxIeUN2YTNDZHN3eWF1K3h5T1hqbnJVaEF4STUyUTdOSVpVaWZDSGlHVE8xaWhpYXNLNTdUQ05HCkRidFRQSzZKZEpnbEFZSTJWOWlk\
    eGJ1RUlKaXdvQUF3Q2dZSUtvWkl6ajBFQXdJRFNBQXdSUUloQU01aGdqZzQKZmVrNWQvQk9BUnZSTjhEQWJMTTdQQ2lTVnhOczhLMU9YM3hlQWlBQ1lManZGZDd5OVQy\
    VUw2c2dydnZ3Tzk4UgprbDkxSVpLY0NpWXNyczlNQ1E9PQotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K";
