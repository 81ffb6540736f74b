//! `kubectl run` and `kubectl expose`.

use std::time::Duration;

use http::Method;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::exec::{Wishes, attach_to};
use super::report::{DryRun, Reporter, write_query};
use crate::cli::context::Context;
use crate::client::JSON;
use crate::error::{Error, Result};
use crate::resource::Info;
use crate::resource::select::{self, Selection};
use crate::{fail, out};

/// `a=b,c=d` as a map.
fn label_map(text: &str) -> Result<Value> {
    let mut labels = Map::new();
    for pair in text.split(',').filter(|p| !p.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else { fail!("unexpected label spec: {pair}") };
        labels.insert(key.to_owned(), json!(value));
    }
    Ok(Value::Object(labels))
}

/// Merges `--overrides` into a generated object.
fn overridden(cx: &Context, mut object: Value) -> Result<Value> {
    let Some(text) = cx.flags.opt("overrides") else { return Ok(object) };
    let patch: Value = serde_json::from_str(text).map_err(|e| Error::Plain(format!("Invalid JSON Patch: {e}")))?;
    match cx.flags.text("override-type") {
        "" | "merge" => json_patch::merge(&mut object, &patch),
        "json" => {
            let operations: json_patch::Patch =
                serde_json::from_value(patch).map_err(|e| Error::Plain(e.to_string()))?;
            json_patch::patch(&mut object, &operations).map_err(|e| Error::Plain(e.to_string()))?;
        }
        other => fail!("--override-type={other} is not supported by this kubectl: use merge or json"),
    }
    Ok(object)
}

/// Runs `run`.
pub async fn run(cx: &Context) -> Result<()> {
    let image = cx.flags.require("image")?.to_owned();
    let (words, command) = cx.split_args();
    let Some(name) = words.first() else {
        return Err(Error::usage("run", "NAME is required for run"));
    };
    let flags = &cx.flags;
    let wishes = Wishes::of(cx);
    let attached = if flags.changed("attach") { flags.bool("attach") } else { wishes.stdin || wishes.tty };
    if wishes.tty && !wishes.stdin {
        return Err(Error::usage("run", "-i/--stdin is required for containers with -t/--tty=true"));
    }
    if flags.bool("rm") && !attached {
        return Err(Error::usage("run", "--rm should only be used for attached containers"));
    }
    let dry_run = DryRun::of(cx)?;
    if attached && dry_run != DryRun::No {
        return Err(Error::usage(
            "run",
            "--dry-run=[server|client] can't be used with attached containers options (--attach, --stdin, or --tty)",
        ));
    }
    let arguments: Vec<String> = words[1..].iter().chain(command).cloned().collect();
    let mut object = overridden(cx, pod(cx, name, &image, &arguments, wishes)?)?;
    if flags.changed("namespace") {
        object["metadata"]["namespace"] = json!(cx.namespace()?);
    }
    let info = Info {
        resource: if dry_run == DryRun::Client { pods() } else { cx.resource("pods").await? },
        namespace: Some(cx.namespace()?),
        name: name.clone(),
        object,
        source: String::new(),
    };
    let created = if dry_run == DryRun::Client {
        info.object.clone()
    } else {
        info.create(cx, &write_query(cx, dry_run)?).await?
    };
    let reporter = Reporter::new(cx, dry_run)?;
    if !attached {
        reporter.say(&info, &created, "created");
        return if flags.bool("expose") { expose_pod(cx, &info, dry_run).await } else { Ok(()) };
    }
    let result = attach(cx, &info, wishes).await;
    if flags.bool("rm") {
        let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"});
        cx.client()?.change(Method::DELETE, &info.path(), JSON, &options).await?;
        if !wishes.quiet {
            out(&format!("pod {name:?} deleted\n"));
        }
    }
    result
}

/// What a dry run on the client knows without asking.
fn pods() -> crate::discovery::Resource {
    crate::discovery::Resource {
        version: "v1".into(),
        name: "pods".into(),
        kind: "Pod".into(),
        namespaced: true,
        ..Default::default()
    }
}

fn pod(cx: &Context, name: &str, image: &str, arguments: &[String], wishes: Wishes) -> Result<Value> {
    let flags = &cx.flags;
    let labels = match flags.opt("labels") {
        Some(text) => label_map(text)?,
        None => json!({"run": name}),
    };
    let mut container = json!({"name": name, "image": image, "resources": {}});
    if !arguments.is_empty() {
        container[if flags.bool("command") { "command" } else { "args" }] = json!(arguments);
    }
    if wishes.stdin {
        container["stdin"] = json!(true);
        container["stdinOnce"] = json!(!flags.bool("leave-stdin-open"));
    }
    if wishes.tty {
        container["tty"] = json!(true);
    }
    if let Some(policy) = flags.opt("image-pull-policy") {
        container["imagePullPolicy"] = json!(policy);
    }
    if flags.bool("privileged") {
        container["securityContext"] = json!({"privileged": true});
    }
    let mut env = Vec::new();
    for pair in flags.array("env") {
        let Some((key, value)) = pair.split_once('=') else { fail!("invalid env: {pair}") };
        env.push(json!({"name": key, "value": value}));
    }
    if !env.is_empty() {
        container["env"] = json!(env);
    }
    if let Some(port) = flags.opt("port") {
        let number: u16 = port.parse().map_err(|_| Error::Plain(format!("invalid port {port:?}")))?;
        container["ports"] = json!([{"containerPort": number}]);
    }
    let restart = flags.text("restart");
    if !matches!(restart, "Always" | "OnFailure" | "Never") {
        fail!("invalid restart policy: {restart}\nSee 'kubectl run -h' for help and examples");
    }
    let mut metadata = json!({"name": name, "labels": labels, "creationTimestamp": null});
    for pair in flags.array("annotations") {
        let Some((key, value)) = pair.split_once('=') else { fail!("invalid annotation: {pair}") };
        metadata["annotations"][key] = json!(value);
    }
    Ok(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
        "spec": {"containers": [container], "dnsPolicy": "ClusterFirst", "restartPolicy": restart}, "status": {}
    }))
}

/// Waits until the pod runs, attaches, and prints its log when it ended before that.
async fn attach(cx: &Context, info: &Info, wishes: Wishes) -> Result<()> {
    let deadline = Instant::now() + cx.flags.duration("pod-running-timeout");
    let live = loop {
        let live = info.fetch(cx).await?;
        match live["status"]["phase"].as_str() {
            Some("Running" | "Succeeded" | "Failed") => break live,
            _ if Instant::now() >= deadline => fail!("timed out waiting for the condition"),
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    let running = Info { object: live, ..info.clone() };
    if running.object["status"]["phase"] != "Running" {
        return print_log(cx, &running).await;
    }
    if let Err(error) = attach_to(cx, &running, wishes).await {
        if matches!(error, Error::Exit(..)) {
            return Err(error);
        }
        eprintln!("warning: couldn't attach to pod/{}, falling back to streaming logs: {error}", info.name);
        return print_log(cx, &running).await;
    }
    exit_of(cx, info).await
}

async fn print_log(cx: &Context, info: &Info) -> Result<()> {
    let log = cx.client()?.get_bytes(&info.sub_path("log"), "*/*").await?;
    crate::out_bytes(&log);
    exit_of(cx, info).await
}

/// A pod that is not restarted hands on its exit code.
async fn exit_of(cx: &Context, info: &Info) -> Result<()> {
    if cx.flags.text("restart") == "Always" {
        return Ok(());
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let live = info.fetch(cx).await?;
        if matches!(live["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
            let code = live["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"].as_i64().unwrap_or(0);
            let code = i32::try_from(code).unwrap_or(1);
            return if code == 0 {
                Ok(())
            } else {
                Err(Error::Exit(
                    code,
                    format!("pod {}/{} terminated (Error)", info.namespace.as_deref().unwrap_or_default(), info.name),
                ))
            };
        }
        if Instant::now() >= deadline {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn expose_pod(cx: &Context, pod: &Info, dry_run: DryRun) -> Result<()> {
    let Some(port) = cx.flags.opt("port").and_then(|p| p.parse::<u16>().ok()) else {
        return Err(Error::usage("run", "--port must be set when exposing a service"));
    };
    let object = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": pod.name, "creationTimestamp": null},
        "spec": {"ports": [{"port": port, "protocol": "TCP", "targetPort": port}], "selector": pod.object["metadata"]["labels"]}, "status": {"loadBalancer": {}}
    });
    create_service(cx, object, pod, dry_run, "created").await
}

async fn create_service(cx: &Context, object: Value, near: &Info, dry_run: DryRun, done: &str) -> Result<()> {
    let resource = cx.resource("services").await?;
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let info = Info { resource, namespace: near.namespace.clone(), name, object, source: String::new() };
    let created = if dry_run == DryRun::Client {
        info.object.clone()
    } else {
        info.create(cx, &write_query(cx, dry_run)?).await?
    };
    Reporter::new(cx, dry_run)?.say(&info, &created, done);
    Ok(())
}

/// Runs `expose`.
pub async fn expose(cx: &Context) -> Result<()> {
    let dry_run = DryRun::of(cx)?;
    let (infos, errors) = select::objects(cx, cx.args(), Selection::default()).await?;
    Error::collect(errors)?;
    for info in infos {
        let object = overridden(cx, service(cx, &info)?)?;
        create_service(cx, object, &info, dry_run, "exposed").await?;
    }
    Ok(())
}

fn service(cx: &Context, info: &Info) -> Result<Value> {
    let flags = &cx.flags;
    let (object, kind) = (&info.object, info.resource.kind.as_str());
    let selector = match (flags.opt("selector"), kind) {
        (Some(text), _) => label_map(text)?,
        (None, "Pod") => object["metadata"]["labels"].clone(),
        (None, "Service" | "ReplicationController") => object["spec"]["selector"].clone(),
        (None, "Deployment" | "ReplicaSet") => {
            if object["spec"]["selector"]["matchExpressions"].as_array().is_some_and(|e| !e.is_empty()) {
                fail!(
                    "couldn't retrieve selectors via --selector flag or introspection: couldn't convert expressions to map-based selector format"
                );
            }
            object["spec"]["selector"]["matchLabels"].clone()
        }
        _ => fail!("cannot expose a {}", info.resource.kind),
    };
    if selector.as_object().is_none_or(Map::is_empty) {
        fail!(
            "couldn't retrieve selectors via --selector flag or introspection: the {} has no labels and cannot be exposed",
            kind.to_lowercase()
        );
    }
    let mut ports = ports(cx, info)?;
    if ports.is_empty() && flags.text("cluster-ip") != "None" {
        fail!("couldn't find port via --port flag or introspection\nSee 'kubectl expose -h' for help and examples");
    }
    if ports.len() > 1 {
        for (i, port) in ports.iter_mut().enumerate() {
            port["name"] = json!(format!("port-{}", i + 1));
        }
    }
    let name = flags.opt("name").unwrap_or(&info.name);
    let mut metadata = json!({"name": name, "creationTimestamp": null});
    let labels = match flags.opt("labels") {
        Some(text) => label_map(text)?,
        None => object["metadata"]["labels"].clone(),
    };
    if labels.is_object() {
        metadata["labels"] = labels;
    }
    if flags.changed("namespace") {
        metadata["namespace"] = json!(cx.namespace()?);
    }
    let mut spec = json!({"selector": selector});
    if !ports.is_empty() {
        spec["ports"] = json!(ports);
    }
    for (flag, key) in [
        ("type", "type"),
        ("session-affinity", "sessionAffinity"),
        ("load-balancer-ip", "loadBalancerIP"),
        ("cluster-ip", "clusterIP"),
    ] {
        if let Some(text) = flags.opt(flag) {
            spec[key] = json!(text);
        }
    }
    if let Some(ip) = flags.opt("external-ip") {
        spec["externalIPs"] = json!([ip]);
    }
    Ok(
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec, "status": {"loadBalancer": {}}}),
    )
}

/// The ports to expose: those given, or those that the object declares.
fn ports(cx: &Context, info: &Info) -> Result<Vec<Value>> {
    let spec = &info.object["spec"];
    let containers =
        if info.resource.kind == "Pod" { &spec["containers"] } else { &spec["template"]["spec"]["containers"] };
    let declared: Vec<(u64, String)> = if info.resource.kind == "Service" {
        spec["ports"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|p| (p["port"].as_u64().unwrap_or(0), p["protocol"].as_str().unwrap_or("TCP").to_owned()))
            .collect()
    } else {
        let all = containers.as_array().into_iter().flatten().flat_map(|c| c["ports"].as_array().into_iter().flatten());
        all.map(|p| (p["containerPort"].as_u64().unwrap_or(0), p["protocol"].as_str().unwrap_or("TCP").to_owned()))
            .collect()
    };
    let given: Vec<u64> = match cx.flags.opt("port") {
        Some(text) => text
            .split(',')
            .map(|p| p.trim().parse().map_err(|_| Error::Plain(format!("invalid port {p:?}"))))
            .collect::<Result<_>>()?,
        None => declared.iter().map(|(p, _)| *p).collect(),
    };
    let target = cx.flags.opt("target-port").map(|t| t.parse::<u16>().map_or_else(|_| json!(t), |n| json!(n)));
    Ok(given
        .into_iter()
        .map(|port| {
            let known = declared.iter().find(|(p, _)| *p == port).map(|(_, protocol)| protocol.clone());
            let protocol = cx.flags.opt("protocol").map(str::to_owned).or(known).unwrap_or_else(|| "TCP".to_owned());
            json!({"port": port, "protocol": protocol, "targetPort": target.clone().unwrap_or_else(|| json!(port))})
        })
        .collect())
}
