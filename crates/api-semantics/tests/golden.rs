//! Runs the recorded creates and updates of upstream v1.36.2 straight through the strategies, without a server.
//!
//! The recordings are no part of the repository: `KEELSON_GOLDEN` names their folder (default: `../shared/golden` beside
//! the repository); without it the test says so and is skipped. `KEELSON_GOLDEN_FAILS` names a file for what differs.
//! What the registry, admission and decoding do (400, 403, addresses, managed fields) is not looked at here.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use api_semantics::{Context, Part, Strategy, strategy_for};
use api_types::json;
use api_types::schema::{self, Type, normalize};
use serde_json::{Value, json};

const UID: &str = "00000000-0000-4000-8000-000000000001";

#[derive(Default)]
struct Score {
    cases: usize,
    verdict: usize,
    reason: usize,
    exact: usize,
}

/// What a write came to: the object, or the causes as (field, reason, message).
enum Answer {
    Object(Value),
    Refused(Vec<(String, String, String)>),
}

#[test]
fn answers_as_upstream() {
    let Some(folder) = folder() else {
        println!("skipped: no recorded answers (set KEELSON_GOLDEN to their folder)");
        return;
    };
    let mut scores: BTreeMap<String, Score> = BTreeMap::new();
    let mut fails = std::env::var_os("KEELSON_GOLDEN_FAILS").map(|p| std::fs::File::create(p).unwrap());
    for file in ["create", "validate", "update"] {
        for line in lines(&folder.join(format!("{file}.jsonl.xz"))) {
            let case: Value = serde_json::from_str(&line).unwrap();
            replay(&case, &mut scores, &mut fails);
        }
    }
    let total = report(&scores);
    let rate = 100.0 * total.reason as f64 / total.cases.max(1) as f64;
    assert!(rate >= FLOOR, "{rate:.2} % of the recorded answers agree, it was {FLOOR} %");
}

/// The rate that was reached once; it only rises.
const FLOOR: f64 = 99.5;

fn folder() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden");
    let folder = std::env::var_os("KEELSON_GOLDEN").map_or(default, PathBuf::from);
    folder.join("validate.jsonl.xz").exists().then_some(folder)
}

fn lines(file: &Path) -> Vec<String> {
    let out = Command::new("xz").arg("-dc").arg(file).output().expect("xz runs");
    assert!(out.status.success(), "xz -dc {}", file.display());
    String::from_utf8(out.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn replay(case: &Value, scores: &mut BTreeMap<String, Score>, fails: &mut Option<std::fs::File>) {
    let steps = case["steps"].as_array().unwrap();
    let expect = case["expect"].as_array().unwrap();
    let index = steps.iter().position(|s| s["method"] == "PUT").unwrap_or(0);
    let status = expect[index]["status"].as_i64().unwrap();
    let Some(target) = Target::of(&steps[index]) else { return };
    if ![200, 201, 422].contains(&status) || expect[0]["body"]["kind"] == "Status" && index > 0 {
        return;
    }
    let body = &steps[index]["body"];
    let (answer, warnings) = if index == 0 { target.create(body) } else { target.update(body, &expect[0]["body"]) };
    let level = judge(&expect[index], &answer, &warnings);
    let group = format!("{}.{}", case["group"].as_str().unwrap().split('.').next().unwrap(), target.resource);
    let score = scores.entry(group).or_default();
    score.cases += 1;
    score.verdict += usize::from(level >= 1);
    score.reason += usize::from(level >= 2);
    score.exact += usize::from(level >= 3);
    if level < 3
        && let Some(file) = fails
    {
        let got = match answer {
            Answer::Object(object) => object,
            Answer::Refused(causes) => json!(causes),
        };
        let entry = json!({"id": case["id"], "level": level, "body": body, "expect": expect[index], "got": got, "warnings": warnings});
        writeln!(file, "{entry}").unwrap();
    }
}

struct Target {
    strategy: &'static dyn Strategy,
    schema: Type,
    resource: String,
    namespaced: bool,
}

impl Target {
    /// From the path of a request; `None` for what is no stored built-in kind.
    fn of(step: &Value) -> Option<Target> {
        let path = step["path"].as_str()?.split('?').next()?;
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, version, rest) = match parts[0] {
            "api" => ("", parts[1], &parts[2..]),
            _ => (parts[1], parts[2], &parts[3..]),
        };
        let namespaced = rest[0] == "namespaces" && rest.len() > 2;
        let resource = if namespaced { rest[2] } else { rest[0] };
        let kind = step["body"]["kind"].as_str()?;
        let schema = schema::lookup(group, version, kind)?;
        Some(Target {
            strategy: strategy_for(group, version, kind)?,
            schema,
            resource: resource.to_owned(),
            namespaced,
        })
    }

    /// As the server decodes it: known fields only, zero values as Go has them.
    fn decoded(&self, body: &Value) -> Value {
        let text = body.to_string().replace("\"NS\"", "\"ns\"");
        let doc = json::parse(text.as_bytes()).unwrap();
        json::decode_as_sent(&doc, &self.schema)
            .map(|d| d.value)
            .unwrap_or_else(|e| json!({"undecodable": e.to_string()}))
    }

    fn created(&self, body: &Value) -> Value {
        let mut object = self.decoded(body);
        self.strategy.default(&mut object);
        let metadata = &mut object["metadata"];
        if metadata.is_null() {
            *metadata = json!({});
        }
        if self.namespaced {
            metadata["namespace"] = json!("ns");
        }
        metadata["uid"] = json!(UID);
        if body["kind"] == "Pod" && object["spec"]["serviceAccountName"].as_str().is_none_or(str::is_empty) {
            // What the service account admission does before validation.
            object["spec"]["serviceAccountName"] = json!("default");
        }
        let metadata = &mut object["metadata"];
        if let (Some(base), true) =
            (metadata["generateName"].as_str(), metadata["name"].as_str().is_none_or(str::is_empty))
        {
            metadata["name"] = json!(format!("{base}abcde"));
        }
        metadata["creationTimestamp"] = json!("2026-11-22T10:00:00Z");
        self.strategy.prepare_create(&context(), &mut object);
        if self.strategy.has_generation() {
            object["metadata"]["generation"] = json!(1);
        }
        object
    }

    fn create(&self, body: &Value) -> (Answer, Vec<String>) {
        let mut object = self.created(body);
        let errors = self.strategy.validate_create(&object);
        let warnings = self.strategy.warnings(&object, None);
        self.strategy.default(&mut object);
        normalize(&mut object, &self.schema);
        (answer(object, errors), warnings)
    }

    /// `old` is the recorded answer to the create.
    fn update(&self, body: &Value, old: &Value) -> (Answer, Vec<String>) {
        if !self.strategy.unconditional_update() {
            let cause =
                ("metadata.resourceVersion", "FieldValueInvalid", "Invalid value: 0: must be specified for an update");
            let cause = (cause.0.to_owned(), cause.1.to_owned(), cause.2.to_owned());
            return (Answer::Refused(vec![cause]), Vec::new());
        }
        let mut old = concrete(old, "");
        normalize(&mut old, &self.schema);
        let mut new = self.decoded(body);
        self.strategy.default(&mut new);
        for key in ["name", "uid", "creationTimestamp", "generation", "namespace"] {
            if let Some(value) = old["metadata"].get(key)
                && new["metadata"].get(key).is_none_or(|v| v.is_null() || v == "")
            {
                new["metadata"][key] = value.clone();
            }
        }
        if body["kind"] == "Pod" {
            // Admission adds the default tolerations again.
            let own = new["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
            let system = old["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
            let system = system.into_iter().filter(|t| {
                let key = t["key"].as_str().unwrap_or("");
                let covered = own.iter().any(|o| o["key"].as_str().unwrap_or("").is_empty() || o["key"] == key);
                key.starts_with("node.kubernetes.io/") && !covered
            });
            new["spec"]["tolerations"] = own.iter().cloned().chain(system).collect();
        }
        self.strategy.prepare_update(&context(), Part::Main, &mut new, &old);
        if self.strategy.has_generation() && self.strategy.bumps_generation(&new, &old) {
            new["metadata"]["generation"] = json!(2);
        }
        let errors = self.strategy.validate_update(Part::Main, &new, &old);
        let warnings = self.strategy.warnings(&new, Some(&old));
        normalize(&mut new, &self.schema);
        (answer(new, errors), warnings)
    }
}

/// A recorded object with the blanked values filled in again.
fn concrete(value: &Value, key: &str) -> Value {
    match value {
        Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), concrete(v, k))).collect(),
        Value::Array(items) => items.iter().map(|v| concrete(v, key)).collect(),
        Value::String(s) if s == "*" => match key {
            "token" => json!("*"),
            "uid" => json!(UID),
            "resourceVersion" => json!("7"),
            "clusterIP" | "clusterIPs" => json!("10.96.0.10"),
            "nodePort" | "healthCheckNodePort" => json!(30001),
            k if k.ends_with("Time") || k.ends_with("Timestamp") || k == "time" => json!("2026-11-22T10:00:00Z"),
            _ => value.clone(),
        },
        Value::String(s) if s == "NS" => json!("ns"),
        Value::String(s) => json!(s.replace("UUID", UID)),
        _ => value.clone(),
    }
}

fn context() -> Context {
    Context {
        now: Some("2026-11-22T10:00:00Z".parse().unwrap()),
        username: "admin".to_owned(),
        uid: "admin-uid".to_owned(),
        groups: vec!["system:masters".to_owned(), "system:authenticated".to_owned()],
        extra: BTreeMap::new(),
    }
}

fn answer(object: Value, errors: Vec<api_types::FieldError>) -> Answer {
    if errors.is_empty() {
        return Answer::Object(object);
    }
    let cause = |e: api_types::FieldError| (e.field.to_string(), e.kind.reason().to_owned(), e.message);
    Answer::Refused(errors.into_iter().map(cause).collect())
}

/// 0: another verdict, 1: other causes, 2: other words (or another object), 3: the same.
fn judge(expect: &Value, answer: &Answer, warnings: &[String]) -> u8 {
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    match answer {
        Answer::Object(object) => {
            if expect["body"]["kind"] == "Status" {
                return 0;
            }
            let wanted: BTreeSet<String> = expect["warnings"].as_array().unwrap().iter().map(text).collect();
            let wanted = wanted.into_iter().filter(|w| !w.contains("unknown field")).collect::<BTreeSet<_>>();
            let escape = |w: &String| format!("299 - {}", json!(w));
            let same_warnings = warnings.iter().map(escape).collect::<BTreeSet<_>>() == wanted;
            let same = comparable(object) == comparable(&concrete(&expect["body"], ""));
            if same && same_warnings { 3 } else { 2 }
        }
        Answer::Refused(got) => {
            let causes = expect["body"]["details"]["causes"].as_array().cloned().unwrap_or_default();
            if expect["status"] != 422 {
                return 0;
            }
            let want: Vec<(String, String, String)> =
                causes.iter().map(|c| (text(&c["field"]), text(&c["reason"]), text(&c["message"]))).collect();
            let heads = |s: &[(String, String, String)]| -> BTreeSet<(String, String)> {
                s.iter().map(|(f, r, _)| (f.clone(), r.clone())).collect()
            };
            let blank = |s: &[(String, String, String)]| -> Vec<String> {
                let mut all: Vec<String> = s
                    .iter()
                    .map(|(f, _, m)| format!("{f}{}", m.replace(UID, "UUID").replace("\"ns\"", "\"NS\"")))
                    .collect();
                all.sort();
                all
            };
            match (heads(got) == heads(&want), blank(got) == blank(&want)) {
                (true, true) => 3,
                (true, false) => 2,
                _ => 1,
            }
        }
    }
}

/// The object without what others decide: addresses, admission's additions, zero values that decoding drops.
fn comparable(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for key in ["managedFields", "uid", "resourceVersion", "creationTimestamp", "finalizers", "selfLink"] {
            metadata.remove(key);
        }
    }
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        status.remove("lastPhaseTransitionTime");
    }
    let service = object["kind"] == "Service";
    let pod = object["kind"] == "Pod";
    let request = object["kind"] == "CertificateSigningRequest";
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        if service {
            for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort"] {
                spec.remove(key);
            }
            for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
                port.as_object_mut().unwrap().remove("nodePort");
            }
        }
        if let Some(taints) = spec.get_mut("taints").and_then(Value::as_array_mut) {
            taints.retain(|t| t["key"] != "node.kubernetes.io/not-ready");
        }
        if request {
            spec.remove("uid");
        }
        if pod {
            without_admission(spec);
        }
    }
    object
}

fn without_admission(spec: &mut serde_json::Map<String, Value>) {
    for key in ["priority", "preemptionPolicy", "serviceAccount", "serviceAccountName", "tolerations"] {
        spec.remove(key);
    }
    let ours = |v: &Value| !v["name"].as_str().unwrap_or("").starts_with("kube-api-access-");
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(mounts) = container.get_mut("volumeMounts").and_then(Value::as_array_mut) {
                mounts.retain(ours);
            }
        }
    }
    if let Some(volumes) = spec.get_mut("volumes").and_then(Value::as_array_mut) {
        volumes.retain(ours);
    }
}

fn report(scores: &BTreeMap<String, Score>) -> Score {
    let mut total = Score::default();
    for (group, s) in scores {
        println!("{group:42} {:6} verdict {:6} reason {:6} exact {:6}", s.cases, s.verdict, s.reason, s.exact);
        total.cases += s.cases;
        total.verdict += s.verdict;
        total.reason += s.reason;
        total.exact += s.exact;
    }
    let percent = |n: usize| 100.0 * n as f64 / total.cases.max(1) as f64;
    println!(
        "TOTAL {} verdict {:.2} % reason {:.2} % exact {:.2} %",
        total.cases,
        percent(total.verdict),
        percent(total.reason),
        percent(total.exact)
    );
    total
}
