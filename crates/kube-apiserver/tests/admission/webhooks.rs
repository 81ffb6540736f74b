//! Admission webhooks, with a real server that answers over HTTPS.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    hooks::Webhooks,
    server::{CONFIG_MAPS, POLICIES, Server, config_map},
};

async fn configure(server: &Server, kind: &str, name: &str, hooks: &[Value]) {
    let path = format!("{POLICIES}/{kind}webhookconfigurations");
    server.create(&path, json!({"metadata": {"name": name}, "webhooks": hooks})).await;
}

/// Waits until the webhook at `path` is asked.
async fn until_asked(server: &Server, webhooks: &Webhooks, path: &str) {
    server.until(CONFIG_MAPS, &config_map("probe", json!({})), |_| !webhooks.asked(path).is_empty()).await;
    webhooks.asked.lock().expect("lock").clear();
}

fn patch(operations: Value) -> Value {
    json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(operations.to_string())})
}

#[tokio::test]
async fn webhooks_are_told_of_requests_and_may_refuse_them() {
    let webhooks = Webhooks::start(|_, request| {
        let data = &request["object"]["data"];
        match data["verdict"].as_str() {
            Some("no") => {
                (200, json!({"allowed": false, "status": {"message": "not here", "reason": "TooBad", "code": 418}}))
            }
            Some("silent") => (200, json!({"allowed": false})),
            Some("other") => (200, json!({"allowed": true, "uid": "other"})),
            Some("broken") => (500, json!({})),
            _ => (200, json!({"allowed": true, "warnings": ["think twice"]})),
        }
    })
    .await;
    let server = Server::start().await;
    configure(&server, "validating", "judge", &[webhooks.hook("judge.example.com", "/judge", json!({}))]).await;
    until_asked(&server, &webhooks, "/judge").await;

    server.create(CONFIG_MAPS, config_map("a", json!({"x": "1"}))).await;
    let asked = webhooks.asked("/judge?timeout=10s");
    assert_eq!(asked.len(), 1);
    let request = &asked[0]["request"];
    assert_eq!(asked[0]["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(request["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
    assert_eq!(request["resource"], json!({"group": "", "version": "v1", "resource": "configmaps"}));
    assert_eq!((&request["operation"], &request["namespace"]), (&json!("CREATE"), &json!("default")));
    assert_eq!(request["userInfo"]["username"], "admin");
    assert_eq!((&request["dryRun"], &request["oldObject"]), (&json!(false), &Value::Null));
    assert_eq!((&request["object"]["kind"], &request["object"]["data"]), (&json!("ConfigMap"), &json!({"x": "1"})));

    let refused = server.refused(CONFIG_MAPS, config_map("b", json!({"verdict": "no"}))).await;
    assert_eq!((&refused["code"], &refused["reason"]), (&json!(418), &json!("TooBad")));
    assert_eq!(refused["message"], "admission webhook \"judge.example.com\" denied the request: not here");
    let refused = server.refused(CONFIG_MAPS, config_map("b", json!({"verdict": "silent"}))).await;
    assert_eq!(refused["code"], 400);
    assert_eq!(refused["message"], "admission webhook \"judge.example.com\" denied the request without explanation");
    let failed = server.refused(CONFIG_MAPS, config_map("b", json!({"verdict": "other"}))).await;
    let message = failed["message"].as_str().expect("a message");
    let start = "Internal error occurred: failed calling webhook \"judge.example.com\": received invalid webhook response: \
                 expected response.uid=";
    assert!(message.starts_with(start), "{message}");
    let failed = server.refused(CONFIG_MAPS, config_map("b", json!({"verdict": "broken"}))).await;
    let message = failed["message"].as_str().expect("a message");
    assert!(message.contains("failed to call webhook: an error on the server ("), "{message}");

    let metrics = server.text("/metrics").await;
    for line in [
        "apiserver_admission_webhook_rejection_count{name=\"judge.example.com\",type=\"validating\",operation=\"CREATE\",\
         error_type=\"no_error\",rejection_code=\"418\"} 1",
        "apiserver_admission_webhook_request_total{name=\"judge.example.com\",type=\"validating\",operation=\"CREATE\",\
         code=\"500\",rejected=\"true\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}");
    }

    let path = format!("{CONFIG_MAPS}/a");
    server.request("DELETE", &path, &json!({})).await.expect("is deleted");
    let last = webhooks.asked("/judge").pop().expect("a question");
    assert_eq!((&last["request"]["operation"], &last["request"]["object"]), (&json!("DELETE"), &Value::Null));
    assert_eq!(last["request"]["oldObject"]["data"], json!({"x": "1"}));
    // Nobody can lock themselves out.
    let path = format!("{POLICIES}/validatingwebhookconfigurations/judge");
    server.request("DELETE", &path, &json!({})).await.expect("is deleted");
    server.stop().await;
}

#[tokio::test]
async fn webhooks_change_objects_and_see_later_changes_if_they_want() {
    let webhooks = Webhooks::start(|path, request| {
        let data = &request["object"]["data"];
        let set =
            |key: &str, value: &str| patch(json!([{"op": "add", "path": format!("/data/{key}"), "value": value}]));
        (
            200,
            match path.split('?').next() {
                Some("/count") => set("count", &data.as_object().map_or(0, |d| d.len()).to_string()),
                Some("/once") => set("once", "1"),
                Some("/wrong") => patch(json!([{"op": "remove", "path": "/data/none"}])),
                _ => json!({"allowed": true}),
            },
        )
    })
    .await;
    let server = Server::start().await;
    let hooks = [
        webhooks.hook("count.example.com", "/count", json!({"reinvocationPolicy": "IfNeeded"})),
        webhooks.hook("once.example.com", "/once", json!({})),
    ];
    configure(&server, "mutating", "a", &hooks).await;
    until_asked(&server, &webhooks, "/once").await;
    let made = server.create(CONFIG_MAPS, config_map("x", json!({"a": "1"}))).await;
    assert_eq!(made["data"], json!({"a": "1", "count": "3", "once": "1"}), "the first saw what the second did");
    assert_eq!((webhooks.asked("/count").len(), webhooks.asked("/once").len()), (2, 1));

    let wrong = webhooks.hook("wrong.example.com", "/wrong", json!({}));
    configure(&server, "mutating", "b", &[wrong]).await;
    until_asked(&server, &webhooks, "/wrong").await;
    let failed = server.refused(CONFIG_MAPS, config_map("y", json!({"a": "1"}))).await;
    assert_eq!(failed["code"], 500, "{failed}");
    // There is nothing to change in a deletion.
    let failed = server.request("DELETE", &format!("{CONFIG_MAPS}/x"), &json!({})).await.expect_err("is refused");
    let message = failed["message"].as_str().expect("a message");
    assert!(message.contains("attempted to modify the object, which is not supported for this operation"), "{message}");
    server.stop().await;
}

#[tokio::test]
async fn only_those_whom_a_request_concerns_are_asked() {
    let webhooks = Webhooks::start(|_, _| (200, json!({"allowed": true}))).await;
    let server = Server::start().await;
    let condition = |expression: &str| json!([{"name": "c", "expression": expression}]);
    let hooks = [
        webhooks.hook("all.example.com", "/all", json!({})),
        webhooks.hook("labels.example.com", "/labels", json!({"objectSelector": {"matchLabels": {"app": "web"}}})),
        webhooks.hook(
            "namespace.example.com",
            "/namespace",
            json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "elsewhere"}}}),
        ),
        webhooks.hook(
            "condition.example.com",
            "/condition",
            json!({"matchConditions": condition("object.metadata.name == 'wanted'")}),
        ),
        webhooks.hook("broken.example.com", "/broken", json!({"failurePolicy": "Ignore", "matchConditions": condition("object.data.none == 'x'")})),
        webhooks.hook("secrets.example.com", "/secrets", json!({"rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["secrets"]}]})),
    ];
    configure(&server, "validating", "some", &hooks).await;
    until_asked(&server, &webhooks, "/all").await;
    server.create(CONFIG_MAPS, config_map("plain", json!({}))).await;
    let paths = |webhooks: &Webhooks| {
        let mut asked = webhooks.asked.lock().expect("lock");
        let mut paths: Vec<String> =
            asked.drain(..).map(|(path, _)| path.split('?').next().unwrap_or_default().to_owned()).collect();
        paths.sort_unstable();
        paths
    };
    assert_eq!(paths(&webhooks), ["/all"]);
    let mut wanted = config_map("wanted", json!({}));
    wanted["metadata"]["labels"] = json!({"app": "web"});
    server.create(CONFIG_MAPS, wanted).await;
    assert_eq!(paths(&webhooks), ["/all", "/condition", "/labels"]);
    server.stop().await;
}

#[tokio::test]
async fn a_webhook_that_cannot_be_asked_counts_by_its_failure_policy() {
    let webhooks = Webhooks::start(|_, _| (200, json!({"allowed": true}))).await;
    let server = Server::start().await;
    let nobody = json!({"url": "https://127.0.0.1:1/", "caBundle": webhooks.bundle});
    let ignored = [
        webhooks.hook("gone.example.com", "/", json!({"clientConfig": nobody, "failurePolicy": "Ignore"})),
        webhooks.hook("fine.example.com", "/fine", json!({})),
    ];
    configure(&server, "validating", "ignored", &ignored).await;
    until_asked(&server, &webhooks, "/fine").await;
    server.create(CONFIG_MAPS, config_map("a", json!({}))).await;

    // A service that leads outside of the cluster, to the same server.
    let port = webhooks.address.port();
    let service = json!({"metadata": {"name": "hook"}, "spec": {"type": "ExternalName", "externalName": "localhost"}});
    server.create("/api/v1/namespaces/default/services", service).await;
    let by_service = |name: &str, path: &str| json!({"service": {"namespace": "default", "name": name, "port": port, "path": path}, "caBundle": webhooks.bundle});
    let hook = webhooks.hook("service.example.com", "", json!({"clientConfig": by_service("hook", "/service")}));
    configure(&server, "validating", "service", &[hook]).await;
    until_asked(&server, &webhooks, "/service").await;
    server.create(CONFIG_MAPS, config_map("b", json!({}))).await;
    assert_eq!(webhooks.asked("/service?timeout=10s").len(), 1);

    let say = |failed: &Value| failed["message"].as_str().expect("a message").to_owned();
    let cases = [
        ("gone", json!({"clientConfig": nobody}), "\": dial tcp 127.0.0.1:1: connect: connection refused"),
        ("absent", json!({"clientConfig": by_service("absent", "")}), "\": service \"absent\" not found"),
        ("slow", json!({"timeoutSeconds": 1}), "/slow?timeout=1s\": context deadline exceeded"),
        (
            "stranger",
            json!({"clientConfig": {"url": format!("https://localhost:{port}/")}}),
            "\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
        ),
    ];
    for (name, more, end) in cases {
        let path = format!("{POLICIES}/validatingwebhookconfigurations");
        let hook = webhooks.hook(&format!("{name}.example.com"), "/slow", more);
        configure(&server, "validating", name, &[hook]).await;
        let start = format!(
            "Internal error occurred: failed calling webhook \"{name}.example.com\": failed to call webhook: Post \""
        );
        let object = config_map("probe", json!({}));
        let fails = |outcome: &Result<Value, Value>| {
            outcome.as_ref().is_err_and(|failed| say(failed).starts_with(&start) && say(failed).ends_with(end))
        };
        server.until(CONFIG_MAPS, &object, fails).await;
        server.request("DELETE", &format!("{path}/{name}"), &json!({})).await.expect("is deleted");
        server.until(CONFIG_MAPS, &object, Result::is_ok).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn connections_are_judged_before_they_are_made() {
    let webhooks = Webhooks::start(|path, request| match request["operation"].as_str() {
        Some("CONNECT") if path.starts_with("/change") => {
            (200, patch(json!([{"op": "add", "path": "/tty", "value": true}])))
        }
        Some("CONNECT") => (200, json!({"allowed": request["object"]["tty"] != true})),
        _ => (200, json!({"allowed": true})),
    })
    .await;
    let server = Server::start().await;
    let pods = |subresource: &str| {
        json!({"rules": [
            {"operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"], "resources": [format!("pods/{subresource}")]},
            {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]},
        ]})
    };
    configure(&server, "validating", "judge", &[webhooks.hook("judge.example.com", "/judge", pods("attach"))]).await;
    configure(&server, "mutating", "change", &[webhooks.hook("change.example.com", "/change", pods("exec"))]).await;
    until_asked(&server, &webhooks, "/judge").await;
    let connect = async |subresource: &str| {
        let path = format!("/api/v1/namespaces/default/pods/none/{subresource}");
        let failed = server.request("POST", &path, &json!({})).await.expect_err("there is no such pod");
        failed["message"].as_str().expect("a message").to_owned()
    };
    assert_eq!(connect("attach?stdin=true").await, "pods \"none\" not found", "it may pass");
    let asked = webhooks.asked("/judge");
    let request = &asked.last().expect("a question")["request"];
    assert_eq!(request["kind"], json!({"group": "", "version": "v1", "kind": "PodAttachOptions"}));
    assert_eq!((&request["name"], &request["subResource"]), (&json!("none"), &json!("attach")));
    assert_eq!(request["object"], json!({"kind": "PodAttachOptions", "apiVersion": "v1", "stdin": true}));
    let refused = connect("attach?stdin=true&tty=true").await;
    assert_eq!(refused, "admission webhook \"judge.example.com\" denied the request without explanation");
    assert_eq!(connect("portforward").await, "pods \"none\" not found", "no webhook is about it");
    let rules = json!({"rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["serviceaccounts/token"]}]});
    configure(&server, "validating", "tokens", &[webhooks.hook("tokens.example.com", "/tokens", rules)]).await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    server.create(accounts, json!({"metadata": {"name": "robot"}})).await;
    let ask = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": ["a"]}});
    server.until(&format!("{accounts}/robot/token"), &ask, |_| !webhooks.asked("/tokens").is_empty()).await;
    let request = &webhooks.asked("/tokens")[0]["request"];
    assert_eq!(request["kind"], json!({"group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest"}));
    assert_eq!(request["object"]["spec"]["audiences"], json!(["a"]));
    // What is connected is what was asked for, or nothing.
    let refused = connect("exec?stdin=true&command=sh").await;
    assert!(
        refused.ends_with("attempted to modify the object, which is not supported for this operation"),
        "{refused}"
    );
    server.stop().await;
}

#[tokio::test]
async fn custom_resources_are_changed_pruned_and_seen_in_the_version_that_is_asked_for() {
    let webhooks = Webhooks::start(|_, request| match request["object"]["spec"].is_object() {
        true => (
            200,
            patch(json!([
                {"op": "add", "path": "/spec/known", "value": 1},
                {"op": "add", "path": "/spec/unknown", "value": 1},
            ])),
        ),
        false => (200, json!({"allowed": true})),
    })
    .await;
    let server = Server::start().await;
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "known": {"type": "integer"}, "given": {"type": "integer", "default": 5},
    }}}}});
    let version =
        |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage, "schema": schema});
    let definition = json!({"metadata": {"name": "things.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
        "versions": [version("v1", true), version("v2", false)],
    }});
    server.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).await;
    let path = |version: &str| format!("/apis/example.com/{version}/namespaces/default/things");
    let thing = |version: &str, spec: Value| json!({"apiVersion": format!("example.com/{version}"), "kind": "Thing", "metadata": {"name": "t"}, "spec": spec});
    server.until(&path("v2"), &thing("v2", json!({})), Result::is_ok).await;
    let rules = json!({"rules": [{"operations": ["CREATE"], "apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["things"]}]});
    configure(&server, "mutating", "things", &[webhooks.hook("things.example.com", "/things", rules)]).await;
    server.until(&path("v2"), &thing("v2", json!({})), |_| !webhooks.asked("/things").is_empty()).await;

    let made = server.create(&path("v2"), thing("v2", json!({}))).await;
    assert_eq!((&made["apiVersion"], &made["spec"]), (&json!("example.com/v2"), &json!({"given": 5, "known": 1})));
    let last = webhooks.asked("/things").pop().expect("a question");
    let request = &last["request"];
    assert_eq!((&request["kind"]["version"], &request["requestKind"]["version"]), (&json!("v1"), &json!("v2")));
    assert_eq!(
        (&request["object"]["apiVersion"], &request["object"]["spec"]),
        (&json!("example.com/v1"), &json!({"given": 5}))
    );
    server.stop().await;
}
