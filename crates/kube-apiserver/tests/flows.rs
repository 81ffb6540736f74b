//! The server through its front door, in memory: what clients rely on from create to delete.

mod late;

use std::{sync::Arc, time::Duration};

use api_types::k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace, Pod, Service, ServiceAccount},
};
use apiserver::user::UserInfo;
use component_base::flags::Flags;
use futures::{StreamExt, TryStreamExt};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, PropagationPolicy, WatchEvent, WatchParams},
};
use kube_apiserver::{config::Config, options, run};
use late::Late;
use serde_json::{Value, json};
use storage::{Store, embedded::Embedded};
use tokio_util::sync::CancellationToken;

struct Server {
    api: run::ApiServer,
    client: Client,
    shutdown: CancellationToken,
}

impl Server {
    async fn start() -> Server {
        Server::with(&[]).await
    }

    async fn with(more: &[&str]) -> Server {
        Server::over(Arc::new(Embedded::in_memory()), more).await
    }

    async fn over(store: Arc<dyn Store>, more: &[&str]) -> Server {
        let mut args = vec![
            "--service-cluster-ip-range=10.96.0.0/28",
            "--advertise-address=192.0.2.10",
            "--service-node-port-range=30000-30020",
        ];
        args.extend(more);
        let flags = Flags::parse("kube-apiserver", options::FLAGS, args).expect("flags parse");
        let config = Config::from_flags(&flags).expect("flags are valid");
        let shutdown = CancellationToken::new();
        let api = run::build(&config, store, shutdown.clone()).await.expect("the server starts");
        let client = api.client_as(UserInfo::new("admin", &["system:masters"]));
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
        accounts
            .create(&PostParams::default(), &of(json!({ "metadata": { "name": "default" } })))
            .await
            .expect("account");
        Server { api, client, shutdown }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn raw(&self, method: &str, path: &str, body: Value) -> Result<Value, kube::Error> {
        let request = http::Request::builder().method(method).uri(path).header("content-type", "application/json");
        self.client.request(request.body(body.to_string().into_bytes()).expect("request")).await
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.api.tasks.close();
        self.api.tasks.wait().await;
    }
}

fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("test object")
}

fn pod(name: &str, labels: Value) -> Pod {
    of(json!({
        "metadata": { "name": name, "labels": labels },
        "spec": { "containers": [{ "name": "c", "image": "i" }] },
    }))
}

fn code(error: kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        other => panic!("no API error: {other}"),
    }
}

#[tokio::test]
async fn objects_are_created_changed_and_deleted() {
    let server = Server::start().await;
    let pods = server.api::<Pod>();
    let created = pods.create(&PostParams::default(), &pod("a", json!({}))).await.expect("create");
    assert!(created.uid().is_some() && created.creation_timestamp().is_some());
    assert_eq!(created.spec.as_ref().and_then(|s| s.service_account_name.as_deref()), Some("default"));
    assert_eq!(code(pods.create(&PostParams::default(), &pod("a", json!({}))).await.expect_err("taken")), 409);

    let patch = Patch::Merge(json!({ "metadata": { "labels": { "x": "y" } } }));
    let patched = pods.patch("a", &PatchParams::default(), &patch).await.expect("patch");
    assert_eq!(patched.labels().get("x").map(String::as_str), Some("y"));
    let stale = pods.replace("a", &PostParams::default(), &created).await.expect_err("stale");
    assert_eq!(code(stale), 409);
    let same = pods.patch("a", &PatchParams::default(), &patch).await.expect("no change");
    assert_eq!(same.resource_version(), patched.resource_version(), "a patch that changes nothing writes nothing");

    pods.delete("a", &DeleteParams::default()).await.expect("delete");
    assert_eq!(code(pods.get("a").await.expect_err("gone")), 404);
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_precondition_names_the_stored_kind() {
    let server = Server::start().await;
    let event = json!({
        "metadata": {}, "reason": "Scheduled", "action": "Binding", "type": "Normal", "note": "bound",
        "eventTime": "2026-01-01T00:00:00.000000Z", "regarding": { "namespace": "default" },
        "reportingController": "example.com/c", "reportingInstance": "c-1",
    });
    let options = json!({ "preconditions": { "uid": "nope" } });
    for (group, kind, object) in [
        (
            "apps/v1/namespaces/default/controllerrevisions",
            "ControllerRevision.apps",
            json!({ "revision": 1, "data": { "a": 1 } }),
        ),
        ("events.k8s.io/v1/namespaces/default/events", "Event", event),
    ] {
        let path = format!("/apis/{group}");
        let mut object = object;
        object["metadata"]["name"] = "e".into();
        server.raw("POST", &path, object).await.expect("create");
        let refused = server.raw("DELETE", &format!("{path}/e"), options.clone()).await.expect_err("another uid");
        let start = format!("Operation cannot be fulfilled on {kind} \"e\": the UID in the precondition (nope)");
        assert!(refused.to_string().contains(&start), "{refused}");
    }
    server.stop().await;
}

#[tokio::test]
async fn concurrent_patches_all_land() {
    let server = Server::start().await;
    let maps = server.api::<ConfigMap>();
    maps.create(&PostParams::default(), &of(json!({ "metadata": { "name": "m" } }))).await.expect("create");
    let writes = (0..20).map(|i| {
        let maps = maps.clone();
        async move {
            let patch = Patch::Merge(json!({ "data": { format!("k{i}"): "v" } }));
            maps.patch("m", &PatchParams::default(), &patch).await
        }
    });
    futures::future::try_join_all(writes).await.expect("every patch is retried until it lands");
    assert_eq!(maps.get("m").await.expect("get").data.map(|d| d.len()), Some(20));
    server.stop().await;
}

#[tokio::test]
async fn a_list_and_a_watch_from_it_miss_nothing() {
    let server = Server::start().await;
    let pods = server.api::<Pod>();
    pods.create(&PostParams::default(), &pod("before", json!({ "app": "x" }))).await.expect("create");
    let list = pods.list(&ListParams::default().labels("app=x")).await.expect("list");
    assert_eq!(list.items.len(), 1);
    let version = list.metadata.resource_version.expect("a list has a version");
    let params = WatchParams::default().labels("app=x").timeout(10);
    let mut events = pods.watch(&params, &version).await.expect("watch").boxed();

    pods.create(&PostParams::default(), &pod("other", json!({}))).await.expect("create");
    pods.create(&PostParams::default(), &pod("new", json!({ "app": "x" }))).await.expect("create");
    let leave = Patch::Merge(json!({ "metadata": { "labels": { "app": null } } }));
    pods.patch("before", &PatchParams::default(), &leave).await.expect("patch");
    let enter = Patch::Merge(json!({ "metadata": { "labels": { "app": "x" } } }));
    pods.patch("other", &PatchParams::default(), &enter).await.expect("patch");
    pods.delete("new", &DeleteParams::default()).await.expect("delete");

    let mut seen = Vec::new();
    while seen.len() < 4 {
        let event = tokio::time::timeout(Duration::from_secs(5), events.try_next()).await.expect("in time");
        seen.push(match event.expect("no error").expect("no end") {
            WatchEvent::Added(p) => format!("+{}", p.name_any()),
            WatchEvent::Modified(p) => format!("~{}", p.name_any()),
            WatchEvent::Deleted(p) => format!("-{}", p.name_any()),
            other => panic!("unexpected {other:?}"),
        });
    }
    assert_eq!(seen, ["+new", "-before", "+other", "-new"]);
    server.stop().await;
}

#[tokio::test]
async fn pages_show_one_state() {
    let server = Server::start().await;
    let maps = server.api::<ConfigMap>();
    for i in 0..5 {
        let map = of(json!({ "metadata": { "name": format!("m{i}"), "labels": { "t": "p" } } }));
        maps.create(&PostParams::default(), &map).await.expect("create");
    }
    let first = maps.list(&ListParams::default().labels("t=p").limit(2)).await.expect("first page");
    let token = first.metadata.continue_.clone().expect("more follows");
    maps.delete("m4", &DeleteParams::default()).await.expect("delete");
    let mut names: Vec<String> = first.items.iter().map(ResourceExt::name_any).collect();
    let mut next = Some(token);
    while let Some(token) = next {
        let page = maps.list(&ListParams::default().labels("t=p").limit(2).continue_token(&token)).await.expect("page");
        assert_eq!(page.metadata.resource_version, first.metadata.resource_version);
        names.extend(page.items.iter().map(ResourceExt::name_any));
        next = page.metadata.continue_.filter(|t| !t.is_empty());
    }
    assert_eq!(names, ["m0", "m1", "m2", "m3", "m4"], "the deletion came after the first page");
    server.stop().await;
}

/// Whatever there is room for, answers are the same.
#[tokio::test]
async fn what_encoded_forms_may_take_shows_in_no_answer() {
    let mut lists = Vec::new();
    for mebibytes in ["0", "1"] {
        let server = Server::with(&["--encoded-cache-mib", mebibytes]).await;
        for n in 0..40 {
            let map = json!({ "metadata": { "name": format!("map-{n:02}") }, "data": { "text": "x".repeat(50_000) } });
            server.api::<ConfigMap>().create(&PostParams::default(), &of(map)).await.expect("created");
        }
        let mut seen = Vec::new();
        for _ in 0..2 {
            let list = server.raw("GET", "/api/v1/namespaces/default/configmaps", Value::Null).await.expect("a list");
            for item in list["items"].as_array().expect("items") {
                let path = format!(
                    "/api/v1/namespaces/default/configmaps/{}",
                    item["metadata"]["name"].as_str().expect("a name")
                );
                let alone = server.raw("GET", &path, Value::Null).await.expect("an object");
                assert_eq!(alone["data"], item["data"]);
                assert_eq!(alone["metadata"], item["metadata"]);
            }
            seen.push(list);
        }
        assert_eq!(seen[0]["items"], seen[1]["items"]);
        let metrics = text(&server.client, "/metrics").await.expect("metrics");
        let used = metrics
            .lines()
            .find_map(|line| line.strip_prefix("apiserver_keelson_encoded_cache_bytes "))
            .expect("the metric");
        let used: usize = used.parse().expect("a number");
        assert!(used <= mebibytes.parse::<usize>().expect("a number") << 20, "{used} bytes");
        assert_eq!(used == 0, mebibytes == "0");
        lists.push(seen.swap_remove(0)["items"].as_array().map(Vec::len));
        server.stop().await;
    }
    assert_eq!(lists, [Some(40), Some(40)]);
}

#[tokio::test]
async fn finalizers_and_grace_keep_objects() {
    let server = Server::start().await;
    let deployments = server.api::<Deployment>();
    let deployment: Deployment = of(json!({
        "metadata": { "name": "d" },
        "spec": {
            "selector": { "matchLabels": { "a": "b" } },
            "template": { "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "c", "image": "i" }] } },
        },
    }));
    deployments.create(&PostParams::default(), &deployment).await.expect("create");
    let foreground =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Foreground), ..DeleteParams::default() };
    deployments.delete("d", &foreground).await.expect("delete");
    let kept = deployments.get("d").await.expect("kept until its dependents are gone");
    assert_eq!(kept.finalizers(), ["foregroundDeletion"]);
    assert!(kept.metadata.deletion_timestamp.is_some());
    let done = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    deployments.patch("d", &PatchParams::default(), &done).await.expect("last finalizer");
    assert_eq!(code(deployments.get("d").await.expect_err("gone")), 404);

    let pods = server.api::<Pod>();
    pods.create(&PostParams::default(), &pod("p", json!({}))).await.expect("create");
    let binding = json!({ "apiVersion": "v1", "kind": "Binding", "metadata": { "name": "p" }, "target": { "kind": "Node", "name": "n" } });
    server.raw("POST", "/api/v1/namespaces/default/pods/p/binding", binding.clone()).await.expect("bind");
    let twice =
        server.raw("POST", "/api/v1/namespaces/default/pods/p/binding", binding).await.expect_err("bound already");
    assert_eq!(code(twice), 409);
    pods.delete("p", &DeleteParams::default()).await.expect("delete");
    let terminating = pods.get("p").await.expect("kept while the kubelet stops it");
    assert_eq!(terminating.metadata.deletion_grace_period_seconds, Some(30));
    pods.delete("p", &DeleteParams::default().grace_period(0)).await.expect("the kubelet's deletion");
    assert_eq!(code(pods.get("p").await.expect_err("gone")), 404);
    server.stop().await;
}

#[tokio::test]
async fn apply_detects_conflicts_and_gives_up_fields() {
    let server = Server::start().await;
    let maps = server.api::<ConfigMap>();
    let config =
        |data: Value| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "m" }, "data": data });
    maps.patch("m", &PatchParams::apply("one"), &Patch::Apply(config(json!({ "a": "1", "b": "1" }))))
        .await
        .expect("creates");
    let conflict = maps.patch("m", &PatchParams::apply("two"), &Patch::Apply(config(json!({ "a": "2" })))).await;
    assert_eq!(code(conflict.expect_err("owned by the other")), 409);
    let forced = maps.patch("m", &PatchParams::apply("two").force(), &Patch::Apply(config(json!({ "a": "2" })))).await;
    assert_eq!(forced.expect("forced").data.and_then(|d| d.get("a").cloned()).as_deref(), Some("2"));
    let less = maps.patch("m", &PatchParams::apply("one"), &Patch::Apply(config(json!({})))).await.expect("applied");
    assert_eq!(less.data.map(|d| d.into_keys().collect::<Vec<_>>()), Some(vec!["a".to_owned()]));
    server.stop().await;
}

#[tokio::test]
async fn service_addresses_are_unique_and_given_back() {
    let server = Server::start().await;
    let services = server.api::<Service>();
    let service = |name: &str| -> Service {
        of(json!({ "metadata": { "name": name }, "spec": { "type": "NodePort", "ports": [{ "port": 80 }] } }))
    };
    // 14 usable addresses, of which one is the server's own.
    let creates = (0..13).map(|i| {
        let services = services.clone();
        let service = service(&format!("s{i}"));
        async move { services.create(&PostParams::default(), &service).await }
    });
    let created = futures::future::try_join_all(creates).await.expect("13 are free");
    let mut addresses: Vec<String> = created.iter().filter_map(|s| s.spec.as_ref()?.cluster_ip.clone()).collect();
    let mut ports: Vec<i32> = created.iter().filter_map(|s| s.spec.as_ref()?.ports.as_ref()?[0].node_port).collect();
    addresses.sort();
    addresses.dedup();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!((addresses.len(), ports.len()), (13, 13));
    let full = services.create(&PostParams::default(), &service("more")).await.expect_err("the range is full");
    assert_eq!(code(full), 500);
    let same = services.create(&PostParams::default(), &created[5]).await;
    assert!(same.is_err(), "resource versions are not for new objects");
    let mut again = service("s5");
    again.spec.get_or_insert_default().cluster_ip = created[5].spec.as_ref().and_then(|s| s.cluster_ip.clone());
    services.create(&PostParams::default(), &again).await.expect_err("there is one of this name");
    services.create(&PostParams::default(), &service("more")).await.expect_err("and it still has its address");
    services.delete("s3", &DeleteParams::default()).await.expect("delete");
    services.create(&PostParams::default(), &service("more")).await.expect("one was given back");
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_was_just_created_keeps_its_ports() {
    let store = Late { store: Embedded::in_memory(), by: Duration::from_millis(100) };
    let server = Server::over(Arc::new(store), &[]).await;
    let services = server.api::<Service>();
    let service: Service =
        of(json!({ "metadata": { "name": "s" }, "spec": { "type": "NodePort", "ports": [{ "port": 80 }] } }));
    let created = services.create(&PostParams::default(), &service).await.expect("create");
    let patch = Patch::Merge(json!({ "metadata": { "labels": { "x": "y" } } }));
    let patched = services.patch("s", &PatchParams::default(), &patch).await.expect("patch");
    assert_eq!(patched.spec, created.spec);
    server.stop().await;
}

#[tokio::test]
async fn namespaces_wait_for_their_controller() {
    let server = Server::start().await;
    let namespaces: Api<Namespace> = Api::all(server.client.clone());
    namespaces.create(&PostParams::default(), &of(json!({ "metadata": { "name": "n" } }))).await.expect("create");
    namespaces.delete("n", &DeleteParams::default()).await.expect("delete");
    let terminating = namespaces.get("n").await.expect("kept until it is empty");
    assert_eq!(terminating.status.as_ref().and_then(|s| s.phase.as_deref()), Some("Terminating"));
    let maps: Api<ConfigMap> = Api::namespaced(server.client.clone(), "n");
    let refused = maps.create(&PostParams::default(), &of(json!({ "metadata": { "name": "m" } }))).await;
    assert_eq!(code(refused.expect_err("terminating")), 403);
    let mut empty = serde_json::to_value(&terminating).expect("JSON");
    empty["spec"] = json!({ "finalizers": [] });
    empty["apiVersion"] = "v1".into();
    empty["kind"] = "Namespace".into();
    server.raw("PUT", "/api/v1/namespaces/n/finalize", empty).await.expect("finalize");
    assert_eq!(code(namespaces.get("n").await.expect_err("gone")), 404);
    let missing = Api::<ConfigMap>::namespaced(server.client.clone(), "absent");
    let refused = missing.create(&PostParams::default(), &of(json!({ "metadata": { "name": "m" } }))).await;
    assert_eq!(code(refused.expect_err("no namespace")), 404);
    server.stop().await;
}

#[tokio::test]
async fn strangers_are_refused() {
    let server = Server::start().await;
    let stranger = server.api.client_as(UserInfo::new("eve", &[]));
    let pods: Api<Pod> = Api::namespaced(stranger, "default");
    assert_eq!(code(pods.list(&ListParams::default()).await.expect_err("no role")), 403);
    server.stop().await;
}

#[tokio::test]
async fn an_applied_scale_asks_the_owner_of_the_count() {
    let server = Server::start().await;
    let deployments = server.api::<Deployment>();
    let wanted = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d" },
        "spec": {
            "replicas": 1, "selector": { "matchLabels": { "app": "d" } },
            "template": { "metadata": { "labels": { "app": "d" } }, "spec": { "containers": [{ "name": "c", "image": "i" }] } },
        },
    });
    deployments.patch("d", &PatchParams::apply("a"), &Patch::Apply(wanted)).await.expect("apply");
    let scale = |replicas: i32| {
        let metadata = json!({ "name": "d", "namespace": "default" });
        Patch::Apply(
            json!({ "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, "spec": { "replicas": replicas } }),
        )
    };
    let refused = deployments.patch_scale("d", &PatchParams::apply("b"), &scale(3)).await.expect_err("conflict");
    assert_eq!(code(refused), 409);
    deployments.patch_scale("d", &PatchParams::apply("b").force(), &scale(3)).await.expect("forced");
    let now = deployments.get("d").await.expect("get");
    assert_eq!(now.spec.expect("spec").replicas, Some(3));
    let owners = now.metadata.managed_fields.unwrap_or_default();
    let owner = owners.iter().find(|o| o.manager.as_deref() == Some("b")).expect("an entry of b");
    assert_eq!((owner.operation.as_deref(), owner.subresource.as_deref()), (Some("Apply"), Some("scale")));
    assert_eq!(owner.fields_v1.as_ref().map(|f| f.0.clone()), Some(json!({ "f:spec": { "f:replicas": {} } })));
    server.stop().await;
}

#[tokio::test]
async fn deleting_a_definition_is_recorded_as_a_condition() {
    let server = Server::start().await;
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "things.example.com" },
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": { "kind": "Thing", "plural": "things" },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": { "type": "object" } } }],
        },
    });
    server.raw("POST", path, definition).await.expect("create");
    let marked = server.raw("DELETE", &format!("{path}/things.example.com"), json!({})).await.expect("delete");
    assert_eq!(marked["metadata"]["generation"], 1);
    assert_eq!(marked["metadata"].get("deletionGracePeriodSeconds"), None);
    let conditions = marked["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let last = conditions.iter().find(|c| c["type"] == "Terminating").expect("a condition");
    assert_eq!((&last["status"], &last["reason"]), (&json!("True"), &json!("InstanceDeletionPending")));
    server.stop().await;
}

/// Its own followers too would begin their watches again and again.
#[tokio::test(start_paused = true)]
async fn a_server_that_shuts_down_begins_no_watch() {
    let server = Server::start().await;
    server.api.server.core.health.stop();
    let maps: Api<ConfigMap> = server.api();
    match maps.watch(&WatchParams::default(), "0").await.err() {
        Some(kube::Error::Api(status)) => assert_eq!(status.code, 429, "{status:?}"),
        other => panic!("{other:?}"),
    }
    server.shutdown.cancel();
}

#[tokio::test(start_paused = true)]
async fn the_metrics_say_how_much_is_stored() {
    let server = Server::start().await;
    let maps: Api<ConfigMap> = server.api();
    for name in ["a", "b"] {
        maps.create(&PostParams::default(), &of(json!({ "metadata": { "name": name } }))).await.expect("map");
    }
    let all: Api<ConfigMap> = Api::all(server.client.clone());
    let count = all.list(&ListParams::default()).await.expect("a list").items.len();
    let request = http::Request::get("/metrics").body(Vec::new()).expect("a request");
    let text = server.client.request_text(request).await.expect("metrics");
    let line = format!("apiserver_resource_objects{{group=\"\",resource=\"configmaps\"}} {count}");
    assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    assert!(text.contains("apiserver_storage_size_bytes{storage_cluster_id=\"etcd-0\"}") && text.ends_with("# EOF\n"));
    server.shutdown.cancel();
}

/// The text at a path.
async fn text(client: &Client, path: &str) -> Result<String, kube::Error> {
    client.request_text(http::Request::get(path).body(Vec::new()).expect("request")).await
}

#[tokio::test]
async fn who_may_is_told_what_waits_and_runs() {
    let server = Server::start().await;
    let dump = |name: &str| format!("/debug/api_priority_and_fairness/dump_{name}");
    let requests = text(&server.client, &dump("requests?includeRequestDetails=1")).await.expect("requests");
    let this = requests.lines().find(|line| line.contains("dump_requests")).expect("the request that asks");
    let cells: Vec<&str> = this.split(',').map(str::trim).collect();
    assert_eq!(cells[..5], ["exempt", "exempt", "-1", "-1", ""], "{requests}");
    assert_eq!(cells[10..13], ["admin", "get", "/debug/api_priority_and_fairness/dump_requests"], "{requests}");

    // The levels that every cluster has come into force when their objects are seen.
    let queues = async {
        loop {
            let queues = text(&server.client, &dump("queues")).await.expect("queues");
            if queues.lines().filter(|line| line.starts_with("workload-low,")).count() == 128 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), queues).await.expect("the level with its queues");
    let levels = text(&server.client, &dump("priority_levels")).await.expect("levels");
    assert!(levels.lines().any(|line| line.starts_with("workload-low, ")), "{levels}");

    let stranger = server.api.client_as(UserInfo::new("ann", &["system:authenticated"]));
    assert_eq!(code(text(&stranger, &dump("queues")).await.expect_err("is refused")), 403);
    server.stop().await;

    let server = Server::with(&["--enable-priority-and-fairness=false"]).await;
    assert_eq!(code(text(&server.client, &dump("queues")).await.expect_err("is not there")), 404);
    server.stop().await;
}
