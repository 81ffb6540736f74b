//! The daily work with kubectl: the same steps with ours and with upstream's.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use e2e_tests::{Background, Cluster, Kubectl, eventually};

use crate::traffic::fetch;

pub(crate) fn ours(cluster: &Cluster) -> Result<()> {
    daily_work(cluster, Kubectl::Ours)
}

pub(crate) fn upstream(cluster: &Cluster) -> Result<()> {
    if !std::path::Path::new("/usr/bin/kubectl").exists() {
        eprintln!("SKIPPED: no upstream kubectl on this machine");
        return Ok(());
    }
    daily_work(cluster, Kubectl::Upstream)
}

type Step = fn(&Client<'_>) -> Result<()>;

/// The steps in order; the error names the one that failed.
const STEPS: &[(&str, Step)] = &[
    ("apply", apply),
    ("get -o wide, describe", look),
    ("logs -f", follow_logs),
    ("exec -it", exec),
    ("port-forward", port_forward),
    ("scale", scale),
    ("rollout status and undo", rollout),
    ("server-side apply", server_side_apply),
    ("explain, api-resources", documents),
    ("delete --wait", delete),
];

struct Client<'a> {
    cluster: &'a Cluster,
    which: Kubectl,
    namespace: &'static str,
}

impl Client<'_> {
    fn run(&self, line: &str) -> Result<String> {
        self.cluster.kubectl_of(self.which, &format!("-n {} {line}", self.namespace))
    }

    fn expect(&self, line: &str, expected: &[&str]) -> Result<()> {
        let text = self.run(line)?;
        for part in expected {
            ensure!(text.contains(part), "kubectl {line}: {part:?} is not in\n{text}");
        }
        Ok(())
    }
}

fn daily_work(cluster: &Cluster, which: Kubectl) -> Result<()> {
    let namespace = if which == Kubectl::Ours { "work-ours" } else { "work-upstream" };
    let client = Client { cluster, which, namespace };
    cluster.kubectl_of(which, &format!("create namespace {namespace}"))?;
    let mut failures = Vec::new();
    for (title, step) in STEPS {
        if let Err(error) = step(&client) {
            failures.push(format!("{title}: {error:#}"));
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

fn manifest(client: &Client<'_>, text: &str) -> Result<std::path::PathBuf> {
    let path = std::env::temp_dir().join(format!("keelson-e2e-{}-{}.yaml", client.namespace, std::process::id()));
    std::fs::write(&path, text)?;
    Ok(path)
}

const DEPLOYMENT: &str = r#"apiVersion: apps/v1
kind: Deployment
metadata: {name: hello}
spec:
  replicas: 2
  selector: {matchLabels: {app: hello}}
  template:
    metadata: {labels: {app: hello}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: httpd
        image: keelson.local/busybox:1.0
        command: [sh, -c, "echo started; echo 'Hello from Keelson' > /tmp/index.html; exec httpd -f -v -p 8080 -h /tmp"]
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /index.html, port: 8080}, periodSeconds: 1}
"#;

fn apply(client: &Client<'_>) -> Result<()> {
    let path = manifest(client, DEPLOYMENT)?;
    client.expect(&format!("apply -f {}", path.display()), &["deployment.apps/hello created"])?;
    client.expect("rollout status deployment/hello --timeout=60s", &["successfully rolled out"])?;
    client.expect(&format!("apply -f {}", path.display()), &["deployment.apps/hello unchanged"])
}

fn look(client: &Client<'_>) -> Result<()> {
    client
        .expect("get deployments -o wide", &["READY", "UP-TO-DATE", "2/2", "keelson.local/busybox:1.0", "app=hello"])?;
    client.expect("get pods -o wide", &["NODE", "1/1", "Running", "10.244."])?;
    client.expect("describe deployment hello", &["ScalingReplicaSet", "2 available", "RollingUpdate"])?;
    let pod = a_pod(client)?;
    client.expect(&format!("describe pod {pod}"), &["Scheduled", "Started", "Ready", "keelson.local/busybox:1.0"])
}

fn a_pod(client: &Client<'_>) -> Result<String> {
    client.run("get pods -l app=hello -o jsonpath={.items[0].metadata.name}")
}

fn follow_logs(client: &Client<'_>) -> Result<()> {
    let pod = a_pod(client)?;
    client.expect(&format!("logs {pod}"), &["started"])?;
    let mut command = client.cluster.command(client.which, &["-n", client.namespace, "logs", "-f", &pod]);
    let mut child = Background(command.stdout(Stdio::piped()).spawn()?);
    let output = child.0.stdout.take().context("stdout")?;
    // A line that comes after the start of following, from the container's first process.
    let write = ["-n", client.namespace, "exec", &pod, "--", "sh", "-c", "echo followed-marker > /proc/1/fd/1"];
    e2e_tests::run(&mut client.cluster.command(client.which, &write))?;
    // The probes add a line a second, so that this ends either way.
    let mut lines = BufReader::new(output).lines().take(60);
    ensure!(
        lines.any(|l| l.is_ok_and(|l| l.contains("followed-marker"))),
        "the followed log does not show the new line"
    );
    Ok(())
}

fn exec(client: &Client<'_>) -> Result<()> {
    let pod = a_pod(client)?;
    client.expect(&format!("exec -i {pod} -- cat /tmp/index.html"), &["Hello"])?;
    // -t wants a terminal on our side: `script` of util-linux gives one.
    let which = if client.which == Kubectl::Ours {
        client.cluster.bin_dir().join("kubectl")
    } else {
        "/usr/bin/kubectl".into()
    };
    let inner =
        format!("{} -n {} exec -it {pod} -- sh -c 'test -t 0 && echo terminal'", which.display(), client.namespace);
    let mut command = std::process::Command::new("script");
    command.args(["-qec", &inner, "/dev/null"]).env("KUBECONFIG", client.cluster.kubeconfig());
    let text = e2e_tests::run(&mut command)?;
    ensure!(text.contains("terminal"), "exec -it printed {text:?}");
    let failed = client
        .cluster
        .command(client.which, &["-n", client.namespace, "exec", &pod, "--", "sh", "-c", "exit 7"])
        .output()?;
    ensure!(failed.status.code() == Some(7), "the exit code of the command is {:?}", failed.status.code());
    Ok(())
}

fn port_forward(client: &Client<'_>) -> Result<()> {
    let pod = a_pod(client)?;
    let port = if client.which == Kubectl::Ours { 18_081 } else { 18_082 };
    let args = ["-n", client.namespace, "port-forward", &pod, &format!("{port}:8080")];
    let mut command = client.cluster.command(client.which, &args);
    let _forward = Background(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    eventually(10, || fetch(&format!("http://127.0.0.1:{port}/index.html")))
}

fn scale(client: &Client<'_>) -> Result<()> {
    client.expect("scale deployment hello --replicas=4", &["deployment.apps/hello scaled"])?;
    eventually(30, || client.expect("get deployment hello", &["4/4"]))?;
    client.run("scale deployment hello --replicas=2")?;
    eventually(30, || client.expect("get deployment hello", &["2/2"]))
}

fn rollout(client: &Client<'_>) -> Result<()> {
    client.expect("set env deployment/hello COLOR=blue", &["env updated"])?;
    client.expect("rollout status deployment/hello --timeout=60s", &["successfully rolled out"])?;
    client.expect("rollout history deployment/hello", &["REVISION", "2"])?;
    client.expect("rollout undo deployment/hello", &["rolled back"])?;
    client.expect("rollout status deployment/hello --timeout=60s", &["successfully rolled out"])?;
    let env = client.run("get deployment hello -o jsonpath={.spec.template.spec.containers[0].env}")?;
    ensure!(env.is_empty(), "undo left the environment {env:?}");
    Ok(())
}

fn server_side_apply(client: &Client<'_>) -> Result<()> {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: owned}\ndata: {a: x}\n";
    let path = manifest(client, text)?;
    let line = format!("apply --server-side --field-manager=one -f {}", path.display());
    client.expect(&line, &["configmap/owned serverside-applied"])?;
    std::fs::write(&path, text.replace("a: x", "a: y"))?;
    let other = client.run(&format!("apply --server-side --field-manager=two -f {}", path.display()));
    let message = other.err().context("a conflicting apply went through")?.to_string();
    ensure!(message.contains("conflict") && message.contains("\"one\""), "the conflict says {message}");
    Ok(())
}

fn documents(client: &Client<'_>) -> Result<()> {
    client.expect("explain pod.spec.containers", &["KIND:", "Pod", "image", "livenessProbe"])?;
    client.expect("api-resources", &["deployments", "apps/v1", "po", "NAMESPACED"])
}

fn delete(client: &Client<'_>) -> Result<()> {
    client.expect("delete deployment hello --wait --cascade=foreground", &["deleted"])?;
    eventually(20, || {
        let left = client.run("get pods -o name")?;
        ensure!(left.is_empty(), "pods are left: {left}");
        Ok(())
    })?;
    let namespace = client.namespace;
    client.cluster.kubectl_of(client.which, &format!("delete namespace {namespace} --wait --timeout=60s"))?;
    Ok(())
}
