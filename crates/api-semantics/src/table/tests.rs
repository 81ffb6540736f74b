use super::*;

fn now() -> Timestamp {
    "2026-01-02T00:00:00Z".parse().expect("time")
}

fn cells(kind: &str, object: Value) -> Vec<Value> {
    row(kind, &object, now()).cells
}

#[test]
fn every_kind_of_the_table_reads() {
    assert!(table().len() > 60);
    for (kind, columns) in table() {
        assert!(!columns.is_empty(), "{kind}");
        assert_eq!(row(kind, &Value::Null, now()).cells.len(), columns.len(), "{kind}");
    }
}

#[test]
fn pods() {
    let pod = json!({"metadata": {"name": "p", "creationTimestamp": "2026-01-01T23:50:00Z"},
        "spec": {"nodeName": "n", "containers": [{"name": "a"}, {"name": "b"}]},
        "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}], "containerStatuses": [
            {"name": "a", "ready": true, "restartCount": 2, "state": {"running": {}},
             "lastState": {"terminated": {"finishedAt": "2026-01-01T23:55:00Z"}}},
            {"name": "b", "ready": false, "restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}});
    assert_eq!(
        cells("Pod", pod.clone()),
        ["p", "1/2", "CrashLoopBackOff", "3 (5m ago)", "10m", "10.0.0.1", "n", "<none>", "<none>"]
    );
    let mut init = pod.clone();
    init["spec"]["initContainers"] = json!([{"name": "i"}, {"name": "j"}]);
    init["status"]["initContainerStatuses"] = json!([{"name": "i", "state": {"running": {}}}]);
    init["status"]["containerStatuses"] = json!([]);
    assert_eq!(cells("Pod", init)[2], "Init:0/2");
    let mut gone = pod;
    gone["metadata"]["deletionTimestamp"] = json!("2026-01-01T23:59:00Z");
    assert_eq!(cells("Pod", gone)[2], "Terminating");
    let done = json!({"status": {"phase": "Succeeded"}});
    assert_eq!(row("Pod", &done, now()).conditions[0]["reason"], "Succeeded");
}

#[test]
fn services_jobs_and_defaults() {
    let service = json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "clusterIPs": ["10.96.0.9"],
        "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}});
    assert_eq!(
        cells("Service", service),
        ["s", "NodePort", "10.96.0.9", "<none>", "80:30080/TCP,53/UDP", "<unknown>", "<none>"]
    );
    let job = json!({"spec": {"completions": 3}, "status": {"succeeded": 1, "startTime": "2026-01-01T23:58:00Z"}});
    assert_eq!(cells("Job", job)[1..4], ["Running", "1/3", "2m"]);
    assert_eq!(columns("Widget")[1].name, "Created At");
}

#[test]
fn durations() {
    for (seconds, text) in [
        (-5, "<invalid>"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (330, "5m30s"),
        (3600, "60m"),
        (10_800, "3h"),
        (12_600, "3h30m"),
        (90_000, "25h"),
        (180_000, "2d2h"),
        (700_000, "8d"),
        (70_000_000, "2y80d"),
    ] {
        assert_eq!(human_duration(seconds), text, "{seconds}");
    }
}
