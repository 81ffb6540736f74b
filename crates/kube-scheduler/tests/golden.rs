//! Upstream's recorded decisions, judged by ours: scheduled or not and every message equal, every plugin's weighted score equal.
//!
//! The cases are not part of the repository: `KEELSON_GOLDEN` names their folder (default: `../shared/golden` beside the
//! repository). Without them the test says that it is skipped.

use std::{collections::BTreeMap, path::PathBuf, process::Command, sync::Arc};

use api_types::k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube_scheduler::{
    cache::{Cache, PodInfo},
    config::ProfileConfig,
    framework::Profile,
    schedule::schedule,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    id: String,
    nodes: Vec<Node>,
    pods: Vec<Pod>,
    pod: Pod,
    expect: Expect,
}

#[derive(Deserialize)]
struct Expect {
    node: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    scores: Option<BTreeMap<String, BTreeMap<String, i64>>>,
}

fn cases() -> Option<Vec<Case>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = std::env::var_os("KEELSON_GOLDEN").map_or_else(|| root.join("../shared/golden"), PathBuf::from);
    let file = [folder.clone(), root.join("../../shared/golden")]
        .map(|f| f.join("scheduler.jsonl.xz"))
        .into_iter()
        .find(|f| f.exists())?;
    let unpacked = Command::new("xz").arg("-dc").arg(&file).output().expect("xz unpacks the cases");
    assert!(unpacked.status.success(), "xz failed on {}", file.display());
    let lines = String::from_utf8(unpacked.stdout).expect("the cases are UTF-8");
    Some(lines.lines().map(|line| serde_json::from_str(line).expect("a case")).collect())
}

fn cluster(case: &Case) -> Cache {
    let mut cache = Cache::default();
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some("default".to_owned());
    cache.snapshot.catalog.namespaces.insert("default".to_owned(), Arc::new(namespace));
    for node in &case.nodes {
        cache.set_node(Arc::new(node.clone()));
    }
    for pod in &case.pods {
        cache.set_pod(Arc::new(PodInfo::new(Arc::new(pod.clone()))));
    }
    cache.snapshot.settle();
    cache
}

/// What is wrong with the decision, if anything.
fn judge(case: &Case, profile: &Profile) -> Result<(), String> {
    let cache = cluster(case);
    let pod = PodInfo::new(Arc::new(case.pod.clone()));
    let decision = schedule(profile, &cache.snapshot, &pod, &mut 0, &mut |_| 0);
    match (decision, &case.expect.node) {
        (Ok(decision), Some(node)) => {
            let scores =
                |at: usize| decision.scores.iter().map(|(name, scores)| ((*name).to_owned(), scores[at])).collect();
            let nodes = decision.feasible.iter().enumerate();
            let got: BTreeMap<String, BTreeMap<String, i64>> =
                nodes.map(|(at, node)| (node.name().to_owned(), scores(at))).collect();
            match &case.expect.scores {
                Some(want) if !want.is_empty() => {
                    if &got == want {
                        Ok(())
                    } else {
                        Err(format!("scores: want {want:?}\n got {got:?}"))
                    }
                }
                _ if decision.node.name() == node => Ok(()),
                _ => Err(format!("node: want {node}, got {}", decision.node.name())),
            }
        }
        (Err(why), None) => {
            let (want, got) = (case.expect.message.as_deref().unwrap_or_default(), why.message());
            if got == want { Ok(()) } else { Err(format!("message:\n want {want}\n got  {got}")) }
        }
        (Ok(decision), None) => Err(format!("scheduled on {}, want: {:?}", decision.node.name(), case.expect.message)),
        (Err(why), Some(node)) => Err(format!("want node {node}, got: {}", why.message())),
    }
}

#[test]
fn decisions_scores_and_messages_equal_upstream() {
    let Some(cases) = cases() else {
        eprintln!("skipped: no recorded decisions (set KEELSON_GOLDEN to their folder)");
        return;
    };
    let profile = Profile::new(&ProfileConfig::default(), 0).expect("the default profile");
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| judge(case, &profile).err().map(|error| format!("{}: {error}", case.id)))
        .collect();
    let shown = wrong.iter().take(8).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} of {} decisions differ:\n{shown}", wrong.len(), cases.len());
}
