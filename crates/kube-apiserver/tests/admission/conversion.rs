//! Conversion of custom resources by webhook, with a real server that answers over HTTPS. The kind is that of upstream's conformance tests: `v1`
//! has a `hostPort`, `v2` a `host` and a `port`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use serde_json::{Value, json};

use crate::{
    hooks::Webhooks,
    server::{POLICIES, Server},
};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// An object in the other version; labels say how it came about.
fn converted(object: &Value, desired: &str) -> Value {
    let mut object = object.clone();
    object["apiVersion"] = desired.into();
    object["metadata"]["labels"]["shown"] = desired.rsplit('/').next().into();
    let fields = object.as_object_mut().expect("an object");
    if desired.ends_with("/v2") {
        if let Some(both) = fields.remove("hostPort") {
            let (host, port) = both.as_str().and_then(|both| both.split_once(':')).expect("host:port");
            fields.extend([("host".to_owned(), host.into()), ("port".to_owned(), port.into())]);
        }
    } else if let (Some(host), Some(port)) = (fields.remove("host"), fields.remove("port")) {
        let both = format!("{}:{}", host.as_str().expect("host"), port.as_str().expect("port"));
        fields.insert("hostPort".to_owned(), both.into());
    }
    object
}

fn answer(request: &Value) -> Value {
    let desired = request["desiredAPIVersion"].as_str().expect("a version");
    let objects = request["objects"].as_array().expect("objects");
    let objects: Vec<Value> = objects.iter().map(|object| converted(object, desired)).collect();
    json!({"result": {"status": "Success"}, "convertedObjects": objects})
}

/// The definition, stored in one of its versions.
fn definition(webhooks: &Webhooks, storage: &str) -> Value {
    let version = |name: &str, own: &[&str]| {
        let mut properties = json!({
            "spec": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        });
        own.iter().for_each(|field| properties[field] = json!({"type": "string"}));
        let scale = json!({"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"});
        json!({"name": name, "served": true, "storage": name == storage, "subresources": {"status": {}, "scale": scale},
            "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}}})
    };
    json!({"metadata": {"name": "testcrs.stable.example.com"}, "spec": {
        "group": "stable.example.com", "scope": "Namespaced",
        "names": {"plural": "testcrs", "singular": "testcr", "kind": "TestCr", "listKind": "TestCrList"},
        "versions": [version("v1", &["hostPort"]), version("v2", &["host", "port"])],
        "conversion": {"strategy": "Webhook", "webhook": {
            "conversionReviewVersions": ["v1", "v1beta1"],
            "clientConfig": {"url": format!("https://{}/crdconvert", webhooks.address), "caBundle": webhooks.bundle},
        }},
    }})
}

fn path(version: &str, rest: &str) -> String {
    format!("/apis/stable.example.com/{version}/namespaces/default/testcrs{rest}")
}

fn v1(name: &str) -> Value {
    json!({"apiVersion": "stable.example.com/v1", "kind": "TestCr", "metadata": {"name": name}, "hostPort": "localhost:8080"})
}

fn v2(name: &str) -> Value {
    json!({"apiVersion": "stable.example.com/v2", "kind": "TestCr", "metadata": {"name": name}, "host": "localhost", "port": "8080"})
}

/// Whether the object has what its version has, and nothing of the other.
fn check(object: &Value, version: &str) {
    assert_eq!(object["apiVersion"], format!("stable.example.com/{version}"), "{object}");
    let wanted = if version == "v1" { v1("") } else { v2("") };
    for field in ["hostPort", "host", "port"] {
        assert_eq!(object.get(field), wanted.get(field), "{field} of {object}");
    }
}

/// A server with the definition, which is served in both versions.
async fn start(webhooks: &Webhooks) -> Server {
    let server = Server::start().await;
    server.create(DEFINITIONS, definition(webhooks, "v1")).await;
    server.until(&path("v2", ""), &v2("probe"), Result::is_ok).await;
    webhooks.asked.lock().expect("lock").clear();
    server
}

/// How many objects were asked for in each review so far; then forgets them.
fn reviews(webhooks: &Webhooks) -> Vec<usize> {
    let mut asked = webhooks.asked.lock().expect("lock");
    asked.drain(..).map(|(_, review)| review["request"]["objects"].as_array().map_or(0, Vec::len)).collect()
}

/// The events of a watch of one second.
async fn events(server: &Server, path: &str) -> Vec<Value> {
    let text = server
        .text(&format!(
            "{path}?watch=true&timeoutSeconds=1&{}",
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
        ))
        .await;
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test]
async fn objects_are_shown_in_every_version_whatever_they_are_stored_in() {
    let webhooks = Webhooks::start(|_, request| (200, answer(request))).await;
    let server = start(&webhooks).await;
    check(&server.create(&path("v1", ""), v1("cr-instance-1")).await, "v1");
    assert_eq!(reviews(&webhooks), [0; 0], "it is stored as it came");
    let get = async |version: &str, name: &str| {
        server.request("GET", &path(version, &format!("/{name}")), &Value::Null).await.expect("is there")
    };
    let shown = get("v2", "cr-instance-1").await;
    check(&shown, "v2");
    assert_eq!((&shown["metadata"]["labels"], shown["metadata"]["uid"].is_string()), (&json!({"shown": "v2"}), true));
    let review = webhooks.asked.lock().expect("lock")[0].clone();
    assert_eq!(
        (review.0.as_str(), &review.1["apiVersion"]),
        ("/crdconvert?timeout=30s", &json!("apiextensions.k8s.io/v1"))
    );
    assert_eq!(review.1["request"]["objects"][0]["metadata"].get("resourceVersion"), None);

    reviews(&webhooks);
    // From now on new objects are stored in the other version.
    let version = server.request("GET", &format!("{DEFINITIONS}/testcrs.stable.example.com"), &Value::Null).await;
    let mut changed = definition(&webhooks, "v2");
    changed["metadata"]["resourceVersion"] = version.expect("is there")["metadata"]["resourceVersion"].clone();
    server.request("PUT", &format!("{DEFINITIONS}/testcrs.stable.example.com"), &changed).await.expect("is changed");
    let mut one = v1("cr-instance-2");
    one["metadata"]["labels"] = json!({"app": "web"});
    server
        .until(&path("v1", ""), &one, |outcome| {
            // Converted to be stored, and back.
            outcome.as_ref().is_ok_and(|_| {
                webhooks
                    .asked("/crdconvert")
                    .iter()
                    .any(|r| r["request"]["desiredAPIVersion"] == "stable.example.com/v2")
            })
        })
        .await;
    server.create(&path("v1", ""), one).await;
    reviews(&webhooks);
    for version in ["v2", "v1", "v2"] {
        let list = server.request("GET", &path(version, ""), &Value::Null).await.expect("a list");
        assert_eq!(list["kind"], "TestCrList");
        let items = list["items"].as_array().expect("items");
        assert_eq!(items.len(), 2);
        items.iter().for_each(|item| check(item, version));
        let labels = format!("?labelSelector=shown%3D{version},app=web");
        let list = server.request("GET", &path(version, &labels), &Value::Null).await.expect("a list");
        assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "labels are those of the version: {list}");
    }
    assert_eq!(reviews(&webhooks), [1, 1], "each is converted once, and that is kept");
    let seen = events(&server, &path("v2", "")).await;
    assert_eq!(seen.len(), 2);
    seen.iter().for_each(|event| check(&event["object"], "v2"));
    assert_eq!(reviews(&webhooks), [0; 0]);
    let metrics = server.text("/metrics").await;
    for line in [
        "apiserver_conversion_webhook_request_total{result=\"success\",failure_type=\"\"}",
        "apiserver_crd_conversion_webhook_duration_seconds_count{crd_name=\"testcrs.stable.example.com\",from_version=\"v1\",to_version=\"v2\",succeeded=\"true\"}",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
    server.stop().await;
}

#[tokio::test]
async fn writes_are_in_the_version_of_the_request() {
    let webhooks = Webhooks::start(|path, request| match path.starts_with("/admit") {
        true => (200, json!({"allowed": true})),
        false => (200, answer(request)),
    })
    .await;
    let server = start(&webhooks).await;
    let mut made = server.create(&path("v2", ""), v2("a")).await;
    check(&made, "v2");
    // Many at once are one review.
    server.create(&path("v1", ""), v1("b")).await;
    server.create(&path("v1", ""), v1("c")).await;
    reviews(&webhooks);
    server.request("GET", &path("v2", ""), &Value::Null).await.expect("a list");
    let reviews = reviews(&webhooks);
    assert!(reviews.len() == 1 && reviews[0] >= 2, "one review for the list: {reviews:?}");

    let at = |rest: &str| path("v2", &format!("/a{rest}"));
    let rules = json!({"rules": [{"operations": ["UPDATE"], "apiGroups": ["stable.example.com"], "apiVersions": ["v1"], "resources": ["testcrs"]}]});
    let hook = webhooks.hook("seen.example.com", "/admit", rules);
    server
        .create(
            &format!("{POLICIES}/validatingwebhookconfigurations"),
            json!({"metadata": {"name": "seen"}, "webhooks": [hook]}),
        )
        .await;
    let mut port = 1;
    while webhooks.asked("/admit").is_empty() {
        port += 1;
        made = server.merge(&at(""), &json!({"port": port.to_string()})).await.expect("is patched");
    }
    assert_eq!(
        (&made["host"], &made["port"], made.get("hostPort")),
        (&json!("localhost"), &json!(port.to_string()), None)
    );
    let request = webhooks.asked("/admit").pop().expect("a question")["request"].clone();
    assert_eq!(
        (&request["object"]["apiVersion"], &request["object"]["hostPort"]),
        (&json!("stable.example.com/v1"), &json!(format!("localhost:{port}")))
    );
    assert_eq!(request["oldObject"]["hostPort"], format!("localhost:{}", if port == 2 { 8080 } else { port - 1 }));

    made["host"] = "elsewhere".into();
    let made = server.request("PUT", &at(""), &made).await.expect("is updated");
    assert_eq!((&made["host"], made.get("hostPort")), (&json!("elsewhere"), None));
    let status = server.merge(&at("/status"), &json!({"status": {"replicas": 2}})).await.expect("is patched");
    assert_eq!((&status["apiVersion"], &status["status"]), (&json!("stable.example.com/v2"), &json!({"replicas": 2})));
    let scale = server.merge(&at("/scale"), &json!({"spec": {"replicas": 3}})).await.expect("is scaled");
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["replicas"]), (&json!(3), &json!(2)));
    let applied =
        json!({"apiVersion": "stable.example.com/v2", "kind": "TestCr", "metadata": {"name": "a"}, "port": "99"});
    let made = server.apply(&at("?fieldManager=me&force=true"), &applied).await.expect("is applied");
    assert_eq!((&made["host"], &made["port"]), (&json!("elsewhere"), &json!("99")));
    let fields = made["metadata"]["managedFields"].as_array().expect("owners");
    let mine = fields.iter().find(|f| f["manager"] == "me").expect("an owner");
    assert_eq!(
        (&mine["apiVersion"], mine["fieldsV1"].get("f:port")),
        (&json!("stable.example.com/v2"), Some(&json!({})))
    );
    let other = server.request("GET", &path("v1", "/a"), &Value::Null).await.expect("is there");
    assert_eq!((&other["hostPort"], &other["spec"]["replicas"]), (&json!("elsewhere:99"), &json!(3)));

    let from = other["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
    server.merge(&at(""), &json!({"port": "100"})).await.expect("is patched");
    server.request("DELETE", &at(""), &Value::Null).await.expect("is deleted");
    let watch = path("v2", &format!("?watch=true&timeoutSeconds=1&resourceVersion={from}"));
    let text = server.text(&watch).await;
    let seen: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let seen: Vec<_> = seen.iter().map(|e| (&e["type"], &e["object"]["apiVersion"], &e["object"]["port"])).collect();
    let version = json!("stable.example.com/v2");
    assert_eq!(seen, [(&json!("MODIFIED"), &version, &json!("100")), (&json!("DELETED"), &version, &json!("100"))]);
    server.stop().await;
}

#[tokio::test]
async fn a_webhook_that_fails_is_told_of_and_keeps_nobody_from_cleaning_up() {
    let breaks = Arc::new(AtomicBool::new(false));
    let broken = Arc::clone(&breaks);
    let webhooks = Webhooks::start(move |_, request| match broken.load(Ordering::Relaxed) {
        true => (200, json!({"result": {"status": "Failure", "message": "not today"}})),
        false => (200, answer(request)),
    })
    .await;
    let server = start(&webhooks).await;
    server.create(&path("v1", ""), v1("a")).await;
    breaks.store(true, Ordering::Relaxed);
    let failed = "conversion webhook for stable.example.com/v1, Kind=TestCr failed: ";
    for rest in ["", "/a"] {
        let error = server.request("GET", &path("v2", rest), &Value::Null).await.expect_err("can't be converted");
        assert_eq!((&error["code"], &error["message"]), (&json!(500), &json!(format!("{failed}not today"))));
    }
    let error = server.refused(&path("v2", ""), v2("b")).await;
    assert_eq!(error["message"], "conversion webhook for stable.example.com/v2, Kind=TestCr failed: not today");
    let seen = events(&server, &path("v2", "")).await;
    assert_eq!((seen.len(), &seen[0]["type"], &seen[0]["object"]["code"]), (1, &json!("ERROR"), &json!(500)));
    server.request("GET", &path("v1", "/a"), &Value::Null).await.expect("needs no conversion");
    // What failed is not kept.
    breaks.store(false, Ordering::Relaxed);
    check(&server.request("GET", &path("v2", "/a"), &Value::Null).await.expect("is converted"), "v2");
    server.merge(&path("v1", "/a"), &json!({"hostPort": "localhost:1"})).await.expect("is patched");
    drop(webhooks);
    let error = async || {
        let gone = server.request("GET", &path("v2", "/a"), &Value::Null).await.expect_err("nobody is there");
        gone["message"].as_str().expect("a message").to_owned()
    };
    let message = error().await;
    assert!(message.starts_with(&format!("{failed}Post \"https://127.0.0.1:")), "{message}");
    let definition = format!("{DEFINITIONS}/testcrs.stable.example.com");
    server.request("DELETE", &definition, &Value::Null).await.expect("is deleted");
    let gone = async {
        while server.request("GET", &definition, &Value::Null).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), gone)
        .await
        .expect("its objects are deleted without their conversion");
    server.stop().await;
}
