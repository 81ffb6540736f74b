//! Services and their endpoints, addresses and ranges, as far as no packet has to flow.

use serde_json::{Value, json};

use crate::session::{BOTH, Form, on_cluster};

const SERVICES: &str = "/api/v1/namespaces/test/services";
const ENDPOINTS: &str = "/api/v1/namespaces/test/endpoints";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/test/endpointslices";

fn of_service(name: &str) -> String {
    format!("{SLICES}?labelSelector=kubernetes.io%2Fservice-name%3D{name}")
}

fn is_empty(list: &Value) -> bool {
    list["items"].as_array().is_none_or(Vec::is_empty)
}

#[test]
fn the_server_is_a_service() {
    on_cluster(&BOTH, |session| async move {
        let service = session.get("/api/v1/namespaces/default/services/kubernetes").await.is(200);
        assert_eq!(service["spec"]["clusterIP"], "10.96.0.1");
        assert_eq!(service["spec"]["ports"][0]["port"], 443);
        let all = session.list("/api/v1/services").await;
        assert!(all.iter().any(|s| s["metadata"]["name"] == "kubernetes"));
    });
}

#[test]
fn a_service_without_pods_has_empty_endpoints() {
    on_cluster(&BOTH, |session| async move {
        let spec =
            json!({"selector": {"does-not": "exist"}, "ports": [{"name": "example", "port": 80, "targetPort": 80}]});
        session.create(SERVICES, json!({"metadata": {"name": "s"}, "spec": spec})).await;
        session
            .wait_for(&format!("{ENDPOINTS}/s"), |e| e["metadata"]["name"] == "s" && e.get("subsets").is_none())
            .await;
        let slices = session.wait_for(&of_service("s"), |list| !is_empty(list)).await;
        let slice = &slices["items"][0];
        assert_eq!(
            slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"],
            "endpointslice-controller.k8s.io"
        );
        assert!(slice["endpoints"].as_array().is_none_or(Vec::is_empty), "{slice}");
        session.delete(&format!("{SERVICES}/s")).await.is(200);
        session.wait_gone(&format!("{ENDPOINTS}/s")).await;
        session.wait_for(&of_service("s"), is_empty).await;
    });
}

#[test]
fn endpoints_of_a_service_without_selector_are_mirrored() {
    on_cluster(&BOTH, |session| async move {
        let port = json!({"name": "example", "port": 80, "protocol": "TCP"});
        session.create(SERVICES, json!({"metadata": {"name": "s"}, "spec": {"ports": [port]}})).await;
        let subset = |ip: &str, port: u16| json!([{"addresses": [{"ip": ip}], "ports": [{"port": port}]}]);
        session.create(ENDPOINTS, json!({"metadata": {"name": "s"}, "subsets": subset("10.1.2.3", 80)})).await;
        let mirrors = |list: &Value, ip: &str, port: u16| {
            let slice = &list["items"][0];
            slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"]
                == "endpointslicemirroring-controller.k8s.io"
                && slice["endpoints"][0]["addresses"][0] == ip
                && slice["ports"][0]["port"] == port
        };
        session.wait_for(&of_service("s"), |list| mirrors(list, "10.1.2.3", 80)).await;
        let path = format!("{ENDPOINTS}/s");
        let mut endpoints = session.get(&path).await.is(200);
        endpoints["subsets"] = subset("10.2.3.4", 80);
        session.put(&path, endpoints).await.is(200);
        session.wait_for(&of_service("s"), |list| mirrors(list, "10.2.3.4", 80)).await;
        session.delete(&path).await.is(200);
        session.wait_for(&of_service("s"), is_empty).await;
    });
}

#[test]
fn the_status_of_a_service_has_a_life_of_its_own() {
    on_cluster(&BOTH, |session| async move {
        let mut watch = session.watch(&format!("{SERVICES}?watch=true&labelSelector=a%3Db")).await;
        let body = json!({"metadata": {"name": "s", "labels": {"a": "b"}},
            "spec": {"type": "LoadBalancer", "ports": [{"name": "http", "port": 80, "targetPort": 80}]}});
        session.create(SERVICES, body).await;
        watch.expect("ADDED", "s").await;
        let path = format!("{SERVICES}/s/status");
        let ingress = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}});
        session.merge(&path, ingress).await.is(200);
        let seen = watch.until("MODIFIED", "s").await;
        assert_eq!(seen["status"]["loadBalancer"]["ingress"], json!([{"ip": "203.0.113.1", "ipMode": "VIP"}]));
        let mut whole = session.get(&path).await.is(200);
        whole["status"]["conditions"] = json!([{"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "m",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        session.put(&path, whole).await.is(200);
        assert_eq!(watch.until("MODIFIED", "s").await["status"]["conditions"][0]["type"], "StatusUpdate");
        session
            .merge(&format!("{SERVICES}/s"), json!({"metadata": {"annotations": {"patched": "true"}}}))
            .await
            .is(200);
        assert_eq!(watch.until("MODIFIED", "s").await["metadata"]["annotations"]["patched"], "true");
        session.delete(&format!("{SERVICES}/s")).await.is(200);
        watch.until("DELETED", "s").await;
    });
}

#[test]
fn addresses_and_ranges() {
    on_cluster(&BOTH, |session| async move {
        const RANGES: &str = "/apis/networking.k8s.io/v1/servicecidrs";
        const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
        let ready = |range: &Value| {
            range["status"]["conditions"]
                .as_array()
                .is_some_and(|c| c.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
        };
        session.wait_for(&format!("{RANGES}/kubernetes"), ready).await;
        session.create(RANGES, json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["10.97.0.0/28"]}})).await;
        session.wait_for(&format!("{RANGES}/more"), ready).await;
        // A service takes its address from the new range too, and while it has it the range stays.
        let spec = json!({"clusterIP": "10.97.0.7", "ports": [{"port": 80}]});
        session.create(SERVICES, json!({"metadata": {"name": "s"}, "spec": spec})).await;
        let address = session.get(&format!("{ADDRESSES}/10.97.0.7")).await.is(200);
        assert_eq!(address["spec"]["parentRef"], json!({"resource": "services", "namespace": "test", "name": "s"}));
        session.delete(&format!("{RANGES}/more")).await.is(200);
        let terminating = |range: &Value| {
            range["status"]["conditions"].as_array().is_some_and(|c| c.iter().any(|c| c["reason"] == "Terminating"))
        };
        session.wait_for(&format!("{RANGES}/more"), terminating).await;
        session.delete(&format!("{SERVICES}/s")).await.is(200);
        session.wait_gone(&format!("{ADDRESSES}/10.97.0.7")).await;
        session.wait_gone(&format!("{RANGES}/more")).await;
    });
}

#[test]
fn services_are_gone_with_their_namespace() {
    on_cluster(&[Form::Protobuf], |session| async move {
        session.create("/api/v1/namespaces", json!({"metadata": {"name": "short"}})).await;
        let services = "/api/v1/namespaces/short/services";
        session.create(services, json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}})).await;
        session.delete("/api/v1/namespaces/short").await.is(200);
        session.wait_gone("/api/v1/namespaces/short").await;
        session.create("/api/v1/namespaces", json!({"metadata": {"name": "short"}})).await;
        assert!(session.list(services).await.is_empty());
    });
}
