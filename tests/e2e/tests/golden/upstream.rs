//! An etcd that upstream wrote is opened in place and handed back: its recorded values, put under its keys, are read through our API
//! server, and what is written through it is in upstream's form again.

use std::{collections::BTreeMap, path::Path, process::Command};

use anyhow::{Context as _, Result, bail, ensure};
use api_types::{
    protobuf,
    resources::{self, Resource},
    schema::{self, Type},
};
use etcd_client::Client;
use serde_json::{Value, json};

use crate::{EtcdPorts, TOKEN, etcd, folder, server};

const ETCD: EtcdPorts = ["18381", "18382"];
const PORT: &str = "18446";
/// So many kinds are stored in a version that was recorded; fewer means that the test has lost some.
const KINDS: usize = 60;

/// Where what is read is not what was recorded, because a stored object never has it so and reading sets it right: (kind, path; `*`
/// is each item of a list).
const DIFFERENCES: &[(&str, &[&str])] = &[
    // The revision that it is stored at.
    ("", &["metadata.resourceVersion"]),
    // Old names of fields follow the new ones, the first of a list its single form.
    ("Pod", &["spec.serviceAccount", "status.hostIPs.*.ip", "status.podIPs.*.ip"]),
    ("PodTemplate", &["template.spec.serviceAccount"]),
    ("Node", &["spec.podCIDRs"]),
    ("ReplicationController", &[TEMPLATE_ACCOUNT]),
    ("DaemonSet", &[TEMPLATE_ACCOUNT, "metadata.annotations.deprecated\\.daemonset\\.template\\.generation"]),
    ("Deployment", &[TEMPLATE_ACCOUNT]),
    ("ReplicaSet", &[TEMPLATE_ACCOUNT]),
    ("StatefulSet", &[TEMPLATE_ACCOUNT, "spec.volumeClaimTemplates.*.apiVersion", "spec.volumeClaimTemplates.*.kind"]),
    ("Job", &[TEMPLATE_ACCOUNT]),
    ("CronJob", &["spec.jobTemplate.spec.template.spec.serviceAccount"]),
    // Only ever written by clients.
    ("Secret", &["stringData", "data.stringDataKey"]),
    // Defaults.
    ("Namespace", &["metadata.labels.kubernetes\\.io/metadata\\.name"]),
    (
        "Pod",
        &[
            "spec.resources.requests",
            "spec.containers.*.resources.requests",
            "spec.initContainers.*.resources.requests",
        ],
    ),
];
const TEMPLATE_ACCOUNT: &str = "spec.template.spec.serviceAccount";

/// Kinds of which the recorded values pass validation once their metadata are those of an object that lives.
const WRITTEN: [&str; 10] = [
    "CertificateSigningRequest",
    "ConfigMap",
    "ControllerRevision",
    "CSINode",
    "Event",
    "PriorityClass",
    "ResourceClaim",
    "Secret",
    "ServiceAccount",
    "VolumeAttributesClass",
];

/// A recorded value and where upstream keeps it.
struct Fixture {
    resource: &'static Resource,
    key: String,
    stored: Vec<u8>,
    /// As recorded, in the version that is stored.
    object: Value,
    schema: Type,
}

#[test]
fn an_etcd_of_upstream_is_read_and_handed_back() -> Result<()> {
    let Some(golden) = folder() else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let Some(_etcd) = etcd(dir.path(), ETCD)? else { return Ok(()) };
    let fixtures = fixtures(Path::new(&golden))?;
    ensure!(fixtures.len() >= KINDS, "only {} kinds are stored", fixtures.len());
    let runtime = tokio::runtime::Runtime::new()?;
    let address = format!("http://127.0.0.1:{}", ETCD[0]);
    let mut client = runtime.block_on(Client::connect([&address], None))?;
    let alive: Vec<Fixture> = fixtures.iter().map(Fixture::alive).collect();
    for fixture in fixtures.iter().chain(&alive) {
        runtime.block_on(client.put(fixture.key.as_str(), fixture.stored.clone(), None))?;
    }
    let _server = server(dir.path(), PORT, &[&format!("--etcd-servers={address}"), "--runtime-config=api/all=true"])?;
    let mut wrong = Vec::new();
    for fixture in &fixtures {
        if let Err(error) = read(fixture) {
            wrong.push(format!("{}: {error:#}", fixture.key));
        }
    }
    println!("{} kinds of upstream's were read, {} are written", fixtures.len(), WRITTEN.len());
    let mut stored = async |key: &str| -> Result<Vec<u8>> {
        Ok(client.get(key, None).await?.kvs().first().context("the key is gone")?.value().to_vec())
    };
    for fixture in alive.iter().filter(|fixture| WRITTEN.contains(&fixture.resource.kind)) {
        let handed_back = write(fixture).and_then(|()| handed_back(fixture, &runtime.block_on(stored(&fixture.key))?));
        if let Err(error) = handed_back {
            wrong.push(format!("{} after a write: {error:#}", fixture.key));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// The recorded values of kinds that are stored in the recorded version, one for each place in the store.
fn fixtures(golden: &Path) -> Result<Vec<Fixture>> {
    let mut found = BTreeMap::new();
    for resource in resources::all() {
        let Some(storage) = &resource.storage else { continue };
        let group = if storage.group.is_empty() { "core" } else { storage.group };
        let path = golden.join(format!("roundtrip/{group}.{}.{}", storage.version, resource.kind));
        let file = |extension: &str| path.with_added_extension(extension);
        let Ok(stored) = std::fs::read(file("pb")) else { continue };
        let object: Value = serde_json::from_slice(&std::fs::read(file("json"))?)?;
        let schema = schema::lookup(storage.group, storage.version, resource.kind).context("no schema")?;
        let fixture = Fixture { resource, key: key(resource, &object), stored, object, schema };
        // The first version of a resource is the preferred one.
        found.entry(fixture.key.clone()).or_insert(fixture);
    }
    Ok(found.into_values().collect())
}

/// Where upstream keeps the object.
fn key(resource: &Resource, object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    let prefix = resource.storage.as_ref().map_or(resource.plural, |storage| storage.prefix);
    let namespace = if resource.namespaced { format!("{}/", text("namespace")) } else { String::new() };
    format!("/registry/{prefix}/{namespace}{}", text("name"))
}

impl Fixture {
    /// The same with the metadata of an object that lives and belongs to nobody, in the bytes that it is recorded in otherwise.
    fn alive(&self) -> Fixture {
        let mut object = self.object.clone();
        object["metadata"] = json!({
            "name": "alive", "namespace": "default", "uid": "fd2b5a0f-6dd9-4a3c-ae0a-74a0b2f6e1c5",
            "creationTimestamp": "2008-01-01T01:01:01Z", "labels": { "labelsKey": "labelsValue" },
        });
        if !self.resource.namespaced {
            remove(&mut object, "metadata.namespace");
        }
        let mut stored = Vec::new();
        protobuf::encode_object(&object, &self.schema, &mut stored);
        let Fixture { resource, schema, .. } = self;
        Fixture { resource, key: key(resource, &object), stored, object, schema: schema.clone() }
    }

    fn url(&self) -> String {
        let Resource { group, version, plural, .. } = self.resource;
        let api = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
        let text = |field: &str| self.object["metadata"][field].as_str().unwrap_or_default();
        let namespace =
            if self.resource.namespaced { format!("namespaces/{}/", text("namespace")) } else { String::new() };
        format!("https://127.0.0.1:{PORT}/{api}/{namespace}{plural}/{}", text("name"))
    }

    /// In the version that is served.
    fn expected(&self) -> Value {
        let mut object = self.object.clone();
        object["apiVersion"] = self.resource.api_version().into();
        self.without_differences(object)
    }

    fn without_differences(&self, mut object: Value) -> Value {
        for (kind, paths) in DIFFERENCES {
            if *kind == self.resource.kind || kind.is_empty() {
                paths.iter().for_each(|path| remove(&mut object, path));
            }
        }
        object
    }
}

/// The answer's status and body.
fn call(fixture: &Fixture, accept: &str, arguments: &[&str]) -> Result<(u16, Vec<u8>)> {
    let mut command = Command::new("curl");
    command.args(["-sk", "-m", "10", "-w", "%{stderr}%{http_code}", "-H", &format!("Authorization: Bearer {TOKEN}")]);
    let output = command.args(["-H", &format!("Accept: {accept}")]).args(arguments).arg(fixture.url()).output()?;
    let status = String::from_utf8_lossy(&output.stderr).trim().parse().context("curl told no status")?;
    Ok((status, output.stdout))
}

/// Reads the object as JSON and as protobuf; both are what was recorded.
fn read(fixture: &Fixture) -> Result<()> {
    let (status, body) = call(fixture, "application/json", &[])?;
    ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&body));
    same(fixture, serde_json::from_slice(&body)?).context("as JSON")?;
    let (status, body) = call(fixture, "application/vnd.kubernetes.protobuf", &[])?;
    ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&body));
    let Resource { group, version, kind, .. } = fixture.resource;
    let served = schema::lookup(group, version, kind).context("no schema")?;
    same(fixture, protobuf::decode_object(&body, &served)?).context("as protobuf")
}

fn same(fixture: &Fixture, found: Value) -> Result<()> {
    let mut lines = Vec::new();
    differences("", &fixture.expected(), &fixture.without_differences(found), &mut lines);
    if lines.is_empty() { Ok(()) } else { bail!("{}", lines.join("; ")) }
}

/// Adds a label to the object.
fn write(fixture: &Fixture) -> Result<()> {
    let patch = json!({ "metadata": { "labels": { "handed": "back" } } }).to_string();
    let content = "Content-Type: application/merge-patch+json";
    let (status, body) = call(fixture, "application/json", &["-X", "PATCH", "-H", content, "-d", &patch])?;
    ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&body));
    Ok(())
}

/// The value in etcd is upstream's envelope of the same version and kind, and holds the change.
fn handed_back(fixture: &Fixture, value: &[u8]) -> Result<()> {
    let (before, after) = (protobuf::decode_envelope(&fixture.stored)?, protobuf::decode_envelope(value)?);
    ensure!((&after.api_version, &after.kind) == (&before.api_version, &before.kind), "{after:?}");
    let mut object = protobuf::decode_object(value, &fixture.schema)?;
    ensure!(object["metadata"]["labels"]["handed"] == "back", "the change is not there");
    let mut expected = fixture.without_differences(fixture.object.clone());
    for object in [&mut expected, &mut object] {
        remove(object, "metadata");
    }
    let mut lines = Vec::new();
    differences("", &expected, &fixture.without_differences(object), &mut lines);
    if lines.is_empty() { Ok(()) } else { bail!("{}", lines.join("; ")) }
}

/// Takes away what is at `path`; dots that are part of a name come after a backslash.
fn remove(value: &mut Value, path: &str) {
    let end = path.match_indices('.').map(|(at, _)| at).find(|at| !path[..*at].ends_with('\\'));
    let (first, rest) = end.map_or((path, None), |at| (&path[..at], Some(&path[at + 1..])));
    let first = first.replace('\\', "");
    match (value, rest) {
        (Value::Array(items), Some(rest)) if first == "*" => items.iter_mut().for_each(|item| remove(item, rest)),
        (Value::Object(map), None) => drop(map.remove(&first)),
        (Value::Object(map), Some(rest)) => {
            if let Some(value) = map.get_mut(&first) {
                remove(value, rest);
            }
        }
        _ => {}
    }
}

fn differences(path: &str, expected: &Value, found: &Value, lines: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let (a, b) = (a.get(name).unwrap_or(&Value::Null), b.get(name).unwrap_or(&Value::Null));
                differences(&format!("{path}.{name}"), a, b, lines);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (n, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}[{n}]"), a, b, lines);
            }
        }
        (a, b) if a == b => {}
        (a, b) => lines.push(format!("{path}: {a} became {b}")),
    }
}
