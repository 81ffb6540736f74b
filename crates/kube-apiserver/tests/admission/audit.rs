//! The audit log, as its file has it.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::{
    hooks::Webhooks,
    server::{CONFIG_MAPS, POLICIES, Server, config_map, config_maps},
};

const POLICY: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\n\
    rules:\n\
    - {level: None, users: ['system:apiserver']}\n\
    - {level: RequestResponse, omitManagedFields: true, resources: [{resources: [configmaps]}]}\n\
    - {level: Request, verbs: [create, patch], omitStages: [RequestReceived], resources: [{resources: [secrets]}]}\n\
    - {level: Metadata, omitStages: [RequestReceived]}\n";

/// A server that tells of requests.
struct Audited {
    server: Server,
    dir: tempfile::TempDir,
}

impl Audited {
    async fn start(more: &[&str]) -> Audited {
        let dir = tempfile::tempdir().expect("directory");
        let policy = dir.path().join("policy.yaml");
        std::fs::write(&policy, POLICY).expect("file");
        let (policy, log) = (policy.display().to_string(), dir.path().join("audit.log").display().to_string());
        let flags = [format!("--audit-policy-file={policy}"), format!("--audit-log-path={log}")];
        let flags: Vec<&str> = flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
        Audited { server: Server::with(&flags).await, dir }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("audit.log")
    }

    /// The events of a request by an administrator or another user of the tests.
    fn events(&self, verb: &str, uri: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.file()).expect("a log");
        let events = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        events.filter(|e| e["verb"] == verb && e["requestURI"] == uri).collect()
    }

    fn last(&self, verb: &str, uri: &str) -> Value {
        self.events(verb, uri).pop().unwrap_or_else(|| panic!("nothing about {verb} {uri}"))
    }
}

#[tokio::test]
async fn requests_are_told_of_at_the_level_of_the_policy() {
    let audited = Audited::start(&[]).await;
    let server = &audited.server;
    server.create(CONFIG_MAPS, config_map("a", json!({"x": "1"}))).await;
    let text = std::fs::read_to_string(audited.file()).expect("a log");
    let line = text.lines().find(|line| line.contains(CONFIG_MAPS)).expect("an event");
    let start = "{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",\"level\":\"RequestResponse\",\"auditID\":\"";
    assert!(line.starts_with(start), "{line}");
    let events = audited.events("create", CONFIG_MAPS);
    let stages: Vec<&Value> = events.iter().map(|e| &e["stage"]).collect();
    assert_eq!(stages, ["RequestReceived", "ResponseComplete"]);
    assert_eq!(events[0]["requestReceivedTimestamp"], events[0]["stageTimestamp"]);
    assert_eq!((events[0].get("responseStatus"), events[0].get("annotations")), (None, None));
    let event = &events[1];
    assert_eq!(
        (&event["kind"], &event["apiVersion"], &event["level"]),
        (&json!("Event"), &json!("audit.k8s.io/v1"), &json!("RequestResponse"))
    );
    assert_eq!(event["user"], json!({"username": "admin", "groups": ["system:masters", "system:authenticated"]}));
    assert_eq!(
        event["objectRef"],
        json!({"resource": "configmaps", "namespace": "default", "name": "a", "apiVersion": "v1"})
    );
    assert_eq!(event["responseStatus"], json!({"metadata": {}, "code": 201}));
    assert_eq!(event["requestObject"], config_map("a", json!({"x": "1"})));
    let metadata = &event["responseObject"]["metadata"];
    assert_eq!((metadata["uid"].is_string(), metadata.get("managedFields")), (true, None));
    assert_eq!(event["annotations"]["authorization.k8s.io/decision"], "allow");
    assert_eq!(events[0]["auditID"], event["auditID"]);

    // Only the request, and of a secret not even that when it is read.
    let secrets = "/api/v1/namespaces/default/secrets";
    server.create(secrets, json!({"metadata": {"name": "s"}, "stringData": {"p": "w"}})).await;
    let event = audited.last("create", secrets);
    assert_eq!(
        (&event["level"], &event["requestObject"]["stringData"], event.get("responseObject")),
        (&json!("Request"), &json!({"p": "w"}), None)
    );
    let path = format!("{secrets}/s");
    server.merge(&path, &json!({"stringData": {"p": "v"}})).await.expect("is patched");
    assert_eq!(audited.last("patch", &path)["requestObject"], json!({"stringData": {"p": "v"}}));
    server.request("GET", &path, &Value::Null).await.expect("is there");
    let events = audited.events("get", &path);
    assert_eq!((events.len(), &events[0]["level"], events[0].get("requestObject")), (1, &json!("Metadata"), None));
    server.request("DELETE", &path, &Value::Null).await.expect("is deleted");
    let status = &audited.last("delete", &path)["responseStatus"];
    assert_eq!(
        (&status["status"], &status["details"]["name"], &status["code"]),
        (&json!("Success"), &json!("s"), &json!(200))
    );

    // Refusals say why.
    let path = format!("{CONFIG_MAPS}/none");
    server.as_user("jane").request("GET", &path, &Value::Null).await.expect_err("may not");
    let event = audited.last("get", &path);
    assert_eq!(
        (&event["responseStatus"]["reason"], &event["responseStatus"]["code"]),
        (&json!("Forbidden"), &json!(403))
    );
    assert_eq!(event["annotations"]["authorization.k8s.io/decision"], "forbid");
    server.request("GET", &path, &Value::Null).await.expect_err("is not there");
    assert_eq!(audited.last("get", &path)["responseStatus"]["message"], "configmaps \"none\" not found");
    server.text("/version").await;
    let event = audited.last("get", "/version");
    assert_eq!((event.get("objectRef"), &event["responseStatus"]["code"]), (None, &json!(200)));

    // A watch is told of when it starts and when it ends.
    let path = format!("{secrets}?watch=true&timeoutSeconds=1");
    server.text(&path).await;
    let stages: Vec<Value> = audited.events("watch", &path).iter().map(|e| e["stage"].clone()).collect();
    assert_eq!(stages, ["ResponseStarted", "ResponseComplete"]);

    let path = "/api/v1/namespaces?limit=1";
    let acting =
        server.acting("GET", path, &[("impersonate-user", "jane"), ("impersonate-group", "system:masters")]).await;
    assert_eq!(acting, 200);
    let event = audited.last("list", path);
    assert_eq!((&event["user"]["username"], &event["impersonatedUser"]["username"]), (&json!("admin"), &json!("jane")));
    audited.server.stop().await;
}

#[tokio::test]
async fn admission_adds_to_what_is_told() {
    let webhooks = Webhooks::start(|_, _| (200, json!({"allowed": true, "auditAnnotations": {"seen": "yes"}}))).await;
    let audited = Audited::start(&[]).await;
    let server = &audited.server;
    let policy = json!({"metadata": {"name": "p"}, "spec": {
        "matchConstraints": config_maps(),
        "validations": [{"expression": "true"}, {"expression": "!has(object.data)", "message": "no data, please"}],
        "auditAnnotations": [{"key": "name", "valueExpression": "'it is ' + object.metadata.name"}, {"key": "none", "valueExpression": "null"}],
    }});
    server.create(&format!("{POLICIES}/validatingadmissionpolicies"), policy).await;
    let binding = json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Audit"]}});
    server.create(&format!("{POLICIES}/validatingadmissionpolicybindings"), binding).await;
    let hook = webhooks.hook("hook.example.com", "/", json!({}));
    server
        .create(
            &format!("{POLICIES}/validatingwebhookconfigurations"),
            json!({"metadata": {"name": "h"}, "webhooks": [hook]}),
        )
        .await;
    let uri = format!("{CONFIG_MAPS}?dryRun=All");
    let told = |audited: &Audited| audited.last("create", &uri)["annotations"].clone();
    server
        .until(CONFIG_MAPS, &config_map("a", json!({"x": "1"})), |_| {
            let told = told(&audited);
            told.get("p/name").is_some() && told.get("hook.example.com/seen").is_some()
        })
        .await;
    let told = told(&audited);
    assert_eq!(
        (&told["p/name"], told.get("p/none"), &told["hook.example.com/seen"]),
        (&json!("it is a"), None, &json!("yes"))
    );
    let failure = told["validation.policy.admission.k8s.io/validation_failure"].as_str().expect("a failure");
    let failure: Value = serde_json::from_str(failure).expect("JSON");
    assert_eq!(
        failure,
        json!([{"message": "no data, please", "policy": "p", "binding": "b", "expressionIndex": 1, "validationActions": ["Audit"]}])
    );

    let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/audit": "restricted"}}});
    server.merge("/api/v1/namespaces/default", &labels).await.expect("is patched");
    server.create("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "default"}})).await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let uri = format!("{pods}?dryRun=All");
    let violations = || {
        audited
            .events("create", &uri)
            .pop()
            .map(|e| e["annotations"]["pod-security.kubernetes.io/audit-violations"].clone())
    };
    server.until(pods, &pod, |_| violations().is_some_and(|v| v.is_string())).await;
    let violations = violations().expect("is told");
    assert!(
        violations.as_str().is_some_and(|v| v.starts_with("would violate PodSecurity \"restricted:latest\": ")),
        "{violations}"
    );
    audited.server.stop().await;
}

#[tokio::test]
async fn a_log_in_batches_is_whole_when_the_server_is_gone_and_a_strict_one_refuses() {
    let audited = Audited::start(&["--audit-log-mode=batch"]).await;
    for name in ["a", "b", "c"] {
        audited.server.create(CONFIG_MAPS, config_map(name, json!({}))).await;
    }
    let Audited { server, dir } = audited;
    server.stop().await;
    let text = std::fs::read_to_string(dir.path().join("audit.log")).expect("a log");
    assert_eq!(
        text.lines().filter(|line| line.contains("\"verb\":\"create\"") && line.contains("ResponseComplete")).count(),
        3
    );

    if std::path::Path::new("/dev/full").exists() {
        for (mode, refused) in [("blocking", false), ("blocking-strict", true)] {
            let mode = format!("--audit-log-mode={mode}");
            let audited = Audited::start(&[&mode, "--audit-log-path=/dev/full"]).await;
            let answer = audited.server.request("GET", CONFIG_MAPS, &Value::Null).await;
            assert_eq!(
                answer.is_err_and(|e| e["message"] == "Internal error occurred: failed to store audit event"),
                refused
            );
            audited.server.stop().await;
        }
    }
    for wrong in
        ["--audit-log-mode=later", "--audit-log-format=legacy", "--audit-policy-file=/none", "--audit-log-version=v1"]
    {
        assert!(!Server::starts(&[wrong]).await, "{wrong}");
    }
}
