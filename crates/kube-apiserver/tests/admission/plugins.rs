//! The built-in plugins.

use serde_json::{Value, json};

use crate::server::{CONFIG_MAPS, Server, config_map};

const PODS: &str = "/api/v1/namespaces/default/pods";

fn pod(name: &str, spec: Value) -> Value {
    let mut pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i:1",
        "imagePullPolicy": "IfNotPresent"}]}});
    for (field, value) in spec.as_object().into_iter().flatten() {
        pod["spec"][field] = value.clone();
    }
    pod
}

/// A server without service accounts, so that pods need nothing beside them.
async fn with(plugins: &str, more: &[&str]) -> Server {
    let enabled = format!("--enable-admission-plugins={plugins}");
    let mut args = vec!["--disable-admission-plugins=ServiceAccount", enabled.as_str()];
    args.extend(more);
    Server::with(&args).await
}

fn refused_with(refusal: &Value, text: &str) {
    assert!(refusal["message"].as_str().is_some_and(|m| m.contains(text)), "{refusal}");
}

#[tokio::test]
async fn plugins_are_enabled_and_disabled_by_name() {
    let server = with("AlwaysPullImages,DenyServiceExternalIPs,NamespaceAutoProvision", &[]).await;
    let made = server.create(PODS, pod("a", json!({}))).await;
    assert_eq!(made["spec"]["containers"][0]["imagePullPolicy"], "Always");
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 1}], "externalIPs": ["192.0.2.1"]}});
    let refusal = server.refused("/api/v1/namespaces/default/services", service).await;
    refused_with(&refusal, "Use of external IPs is denied by admission control");
    server.create("/api/v1/namespaces/fresh/configmaps", config_map("x", json!({}))).await;
    server.stop().await;
    assert!(!Server::starts(&["--enable-admission-plugins=Nope"]).await);
    assert!(!Server::starts(&["--enable-admission-plugins=ImagePolicyWebhook"]).await);
    assert!(Server::starts(&["--disable-admission-plugins=PodTopologyLabels,JobValidation"]).await);
}

#[tokio::test]
async fn pods_are_fitted_to_their_nodes() {
    let server = with("ExtendedResourceToleration,LimitPodHardAntiAffinityTopology", &[]).await;
    let labels = json!({"topology.kubernetes.io/zone": "z1", "topology.kubernetes.io/region": "r1", "other": "x"});
    server.create("/api/v1/nodes", json!({"metadata": {"name": "n1", "labels": labels}})).await;
    let zone = |p: &Value| p["metadata"]["labels"].clone();
    let at_node = pod("probe", json!({"nodeName": "n1"}));
    server.until(PODS, &at_node, |a| a.as_ref().is_ok_and(|p| zone(p)["topology.kubernetes.io/zone"] == "z1")).await;
    server.create(PODS, pod("bound", json!({}))).await;
    let binding = json!({"metadata": {"name": "bound"}, "target": {"kind": "Node", "name": "n1"}});
    server.create(&format!("{PODS}/bound/binding"), binding).await;
    let bound = server.request("GET", &format!("{PODS}/bound"), &Value::Null).await.expect("pod");
    assert_eq!(zone(&bound), json!({"topology.kubernetes.io/zone": "z1", "topology.kubernetes.io/region": "r1"}));
    let mut gpu = pod("gpu", json!({}));
    gpu["spec"]["containers"][0]["resources"] = json!({"limits": {"example.com/gpu": "1"}});
    let made = server.create(PODS, gpu).await;
    let toleration = json!({"key": "example.com/gpu", "operator": "Exists", "effect": "NoSchedule"});
    assert!(made["spec"]["tolerations"].as_array().is_some_and(|all| all.contains(&toleration)), "{made}");
    let term = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}});
    let affinity = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
    let refusal = server.refused(PODS, pod("away", json!({"affinity": affinity}))).await;
    refused_with(&refusal, "has TopologyKey zone but only key kubernetes.io/hostname is allowed");
    server.stop().await;
}

#[tokio::test]
async fn a_pod_is_not_resized_beyond_its_node() {
    let server = with("AlwaysAdmit", &[]).await;
    let status = json!({"allocatable": {"cpu": "2", "memory": "1Gi"}});
    let node = json!({"metadata": {"name": "n1", "labels": {"kubernetes.io/os": "linux"}}, "status": status});
    server.create("/api/v1/nodes", node).await;
    let sized = |cpu: &str| {
        let mut pod = pod("a", json!({"nodeName": "n1"}));
        pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cpu}});
        pod
    };
    server.create(PODS, sized("1")).await;
    let resize = |cpu: &str| {
        let mut pod = sized(cpu);
        pod["spec"].as_object_mut().map(|spec| spec.remove("nodeName"));
        json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}, "metadata": pod["metadata"]})
    };
    let refusal = server.patch(&format!("{PODS}/a/resize"), &resize("3")).await.expect_err("too much");
    refused_with(&refusal, "Node didn't have enough allocatable resources: cpu, requested: 3000, allocatable: 2000");
    server.patch(&format!("{PODS}/a/resize"), &resize("2")).await.expect("fits");
    server.stop().await;
}

#[tokio::test]
async fn plugins_are_configured_by_a_file() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("admission.yaml");
    let file = "
kind: AdmissionConfiguration
apiVersion: apiserver.config.k8s.io/v1
plugins:
- name: PodSecurity
  configuration: {defaults: {enforce: baseline}, exemptions: {namespaces: [kube-system]}}
- name: PodNodeSelector
  configuration: {podNodeSelectorPluginConfig: {clusterDefaultNodeSelector: 'pool=general', default: 'pool=general,disk=ssd'}}
- name: PodTolerationRestriction
  configuration: {default: [{key: team, operator: Exists}], whitelist: [{key: team, operator: Exists}, {key: node.kubernetes.io/not-ready, operator: Exists}, {key: node.kubernetes.io/unreachable, operator: Exists}]}
- name: EventRateLimit
  configuration: {limits: [{type: Namespace, qps: 1, burst: 2}]}
- name: ResourceQuota
  configuration: {limitedResources: [{resource: secrets, matchContains: [secrets]}]}
";
    std::fs::write(&path, file).expect("written");
    let config = format!("--admission-control-config-file={}", path.display());
    let plugins = "PodNodeSelector,PodTolerationRestriction,EventRateLimit";
    let server = with(plugins, &[&config]).await;
    let made = server.create(PODS, pod("a", json!({}))).await;
    assert_eq!(made["spec"]["nodeSelector"], json!({"pool": "general"}));
    assert_eq!(made["spec"]["tolerations"][0], json!({"key": "team", "operator": "Exists"}));
    let refusal = server.refused(PODS, pod("b", json!({"hostNetwork": true}))).await;
    refused_with(&refusal, "violates PodSecurity \"baseline:latest\"");
    let refusal = server.refused(PODS, pod("b", json!({"nodeSelector": {"gpu": "yes"}}))).await;
    refused_with(&refusal, "pod node label selector labels conflict with its namespace whitelist");
    let refusal = server.refused(PODS, pod("b", json!({"tolerations": [{"key": "x", "operator": "Exists"}]}))).await;
    refused_with(&refusal, "conflict with its namespace whitelist");
    let secret = json!({"metadata": {"name": "x"}});
    let refusal = server.refused("/api/v1/namespaces/default/secrets", secret).await;
    refused_with(&refusal, "insufficient quota to consume: count/secrets,secrets");
    let event = |n: u32| json!({"metadata": {"name": format!("e{n}")}, "involvedObject": {"kind": "Pod", "namespace": "default", "name": "a"}});
    let events = "/api/v1/namespaces/default/events";
    server.create(events, event(1)).await;
    server.create(events, event(2)).await;
    let refusal = server.refused(events, event(3)).await;
    assert_eq!(refusal["code"], 429, "{refusal}");
    server.stop().await;
    assert!(!Server::starts(&["--admission-control-config-file=/nowhere"]).await);
}

#[tokio::test]
async fn owners_are_named_by_those_who_may_delete() {
    let server =
        Server::with(&["--enable-admission-plugins=OwnerReferencesPermissionEnforcement", "--authorization-mode=RBAC"])
            .await;
    let owner = server.create(CONFIG_MAPS, config_map("owner", json!({}))).await;
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "get"]}]);
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    server.create(&format!("{rbac}/roles"), json!({"metadata": {"name": "maker"}, "rules": rules})).await;
    let subject = json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "maker"});
    let role = json!({"kind": "Role", "apiGroup": "rbac.authorization.k8s.io", "name": "maker"});
    let binding = json!({"metadata": {"name": "maker"}, "roleRef": role, "subjects": [subject]});
    server.create(&format!("{rbac}/rolebindings"), binding).await;
    let maker = server.as_user("maker");
    maker.until(CONFIG_MAPS, &config_map("x", json!({})), |answer| answer.is_ok()).await;
    let mut owned = config_map("x", json!({}));
    let uid = owner["metadata"]["uid"].clone();
    owned["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}]);
    let refusal = maker.refused(CONFIG_MAPS, owned.clone()).await;
    refused_with(&refusal, "cannot set an ownerRef on a resource you can't delete");
    server.create(CONFIG_MAPS, owned).await;
    server.stop().await;
}
