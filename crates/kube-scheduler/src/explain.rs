//! Why a pod waits: every node with the plugins that refuse it, what they need and what the node has, the nearest fit first.
//!
//! A pure function of the snapshot, asked when somebody wants to know: attempts keep nothing per node, so that the answer costs
//! nothing until then, and it is about the cluster as it is.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::{
    cache::{NodeInfo, PodInfo, Snapshot},
    framework::{Code, Context, CycleState, FilterSet, Lack, Point, PreFilter, Profile},
};

/// Where a pod waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Place {
    /// It is next to be tried.
    Active,
    /// It was tried and waits for a while.
    Backoff,
    /// It was refused and waits for a change.
    Unschedulable,
    /// A plugin keeps it from being tried.
    Gated,
    /// It has a node and waits for a permit, or is being bound.
    Binding,
}

/// A plugin's refusal of a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Objection {
    /// The plugin.
    pub plugin: &'static str,
    /// In its words.
    pub reasons: Vec<String>,
    /// Whether fewer pods on the node could help.
    pub resolvable: bool,
    /// What is lacking, where the plugin can tell.
    pub lacks: Vec<Lack>,
}

/// A node and who objects to it, the first one first.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The node.
    pub node: String,
    /// The objections; none where the pod fits.
    pub objections: Vec<Objection>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// `namespace/name`.
    pub pod: String,
    /// Where it waits.
    pub place: Place,
    /// How often it was tried.
    pub attempts: u32,
    /// The plugins that refused it last time, or hold it back.
    pub refused_by: Vec<&'static str>,
    /// A refusal of all nodes before any is looked at.
    pub before: Option<Objection>,
    /// How many nodes there are.
    pub nodes: usize,
    /// How many of them would do now.
    pub fitting: usize,
    /// The node that lacks least.
    pub nearest: Option<String>,
    /// The nodes, those first that lack least; not more than were asked for.
    pub table: Vec<Row>,
}

/// Judges every node for the pod. `limit`: the most rows of the table.
#[must_use]
pub fn explain(profile: &Profile, snapshot: &Snapshot, pod: &PodInfo, limit: usize) -> Explanation {
    let mut explanation = Explanation {
        pod: pod.key.to_string(),
        place: Place::Active,
        attempts: 0,
        refused_by: Vec::new(),
        before: None,
        nodes: snapshot.len(),
        fitting: 0,
        nearest: None,
        table: Vec::new(),
    };
    let cx = Context { snapshot, pod };
    let held = profile.at(Point::PreEnqueue).iter().find_map(|enabled| {
        let refusal = enabled.plugin.pre_enqueue(pod, &snapshot.catalog).err()?;
        Some(objection(enabled.name, &refusal, Vec::new()))
    });
    let filters = match held.map_or_else(|| filters(profile, cx), Err) {
        Ok(filters) => filters,
        Err(refused) => {
            explanation.before = Some(refused);
            return explanation;
        }
    };
    let mut rows: Vec<Row> = snapshot.nodes().map(|node| judge(&filters, cx, node)).collect();
    rows.sort_by_cached_key(distance);
    explanation.fitting = rows.iter().filter(|row| row.objections.is_empty()).count();
    explanation.nearest = rows.first().map(|row| row.node.clone());
    rows.truncate(limit);
    explanation.table = rows;
    explanation
}

/// The filters for the pod, and the nodes that come into question where a plugin names them.
struct Filters<'a> {
    all: FilterSet<'a>,
    named: Vec<(&'static str, BTreeSet<String>)>,
}

fn filters<'a>(profile: &'a Profile, cx: Context<'a>) -> Result<Filters<'a>, Objection> {
    let mut filters = Filters { all: FilterSet::new(), named: Vec::new() };
    let mut state = CycleState::default();
    for enabled in profile.at(Point::Filter) {
        match enabled.plugin.pre_filter(cx, &mut state) {
            PreFilter::Skip => {}
            PreFilter::Filter(filter) => filters.all.push(enabled.name, filter),
            PreFilter::Narrow(nodes, filter) => {
                filters.named.push((enabled.name, nodes));
                filters.all.push(enabled.name, filter);
            }
            PreFilter::Refuse(refusal) => return Err(objection(enabled.name, &refusal, Vec::new())),
        }
    }
    Ok(filters)
}

fn objection(plugin: &'static str, refusal: &crate::framework::Refusal, lacks: Vec<Lack>) -> Objection {
    let reasons = refusal.reasons.iter().map(|reason| reason.to_string()).collect();
    Objection { plugin, reasons, resolvable: refusal.code == Code::Unschedulable, lacks }
}

/// Everybody who objects to the node; where nobody does, also on behalf of the pods that wait for room there.
fn judge(filters: &Filters<'_>, cx: Context<'_>, node: &NodeInfo) -> Row {
    let unnamed = filters.named.iter().find(|(_, names)| !names.contains(node.name()));
    let mut objections: Vec<Objection> = unnamed
        .into_iter()
        .map(|(plugin, _)| {
            let reasons = vec!["node is not among those that the pod names".to_owned()];
            Objection { plugin, reasons, resolvable: false, lacks: Vec::new() }
        })
        .collect();
    let refusals =
        filters.all.verdicts(node).filter(|(plugin, ..)| objections.first().is_none_or(|o| o.plugin != *plugin));
    let refusals: Vec<_> = refusals.map(|(plugin, refusal, lacks)| objection(plugin, &refusal, lacks)).collect();
    objections.extend(refusals);
    if objections.is_empty()
        && let Err((plugin, refusal)) = filters.all.check_with_nominated(cx, node)
    {
        let mut objection = objection(plugin, &refusal, Vec::new());
        objection.reasons.push("counting the pods that are nominated to run there".to_owned());
        objections.push(objection);
    }
    Row { node: node.name().to_owned(), objections }
}

/// How far the node is from running the pod: what cannot be helped, how many object, how much is lacking (thousandths of what is
/// needed), its name.
fn distance(row: &Row) -> (usize, usize, i64, String) {
    let hopeless = row.objections.iter().filter(|o| !o.resolvable).count();
    let lacking = row.objections.iter().flat_map(|o| &o.lacks).map(|lack| lack.missing).max().unwrap_or(0);
    (hopeless, row.objections.len(), lacking, row.node.clone())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::{cache::Cache, config::ProfileConfig};

    fn node(name: &str, cpu: &str, spec: serde_json::Value) -> Arc<api_types::k8s_openapi::api::core::v1::Node> {
        let node = json!({"metadata": {"name": name, "labels": {"disk": "hdd"}}, "spec": spec,
            "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "10"}}});
        Arc::new(serde_json::from_value(node).unwrap())
    }

    fn pod(name: &str, spec: serde_json::Value) -> PodInfo {
        let mut pod = json!({"metadata": {"name": name, "namespace": "d", "uid": name}, "spec": {"containers": [
            {"name": "c", "resources": {"requests": {"cpu": "3", "memory": "1Gi"}}, "ports": [{"containerPort": 80, "hostPort": 80}]}]}});
        pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap()))
    }

    fn cluster() -> Cache {
        let mut cache = Cache::default();
        cache.set_node(node("small", "1", json!({})));
        cache.set_node(node("close", "2500m", json!({})));
        cache.set_node(node(
            "tainted",
            "8",
            json!({"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}),
        ));
        cache.set_node(node("taken", "8", json!({})));
        cache.set_pod(Arc::new(pod("web", json!({"nodeName": "taken"}))));
        cache.snapshot.settle();
        cache
    }

    #[test]
    fn the_table_says_what_is_lacking_nearest_first() {
        let profile = Profile::new(&ProfileConfig::default(), 0).unwrap();
        let explanation = explain(&profile, &cluster().snapshot, &pod("p", json!({})), 10);
        assert_eq!((explanation.nodes, explanation.fitting, explanation.before), (4, 0, None));
        assert_eq!(explanation.nearest.as_deref(), Some("taken"), "a port may become free");
        let shown: Vec<String> = explanation
            .table
            .iter()
            .map(|row| {
                let objections = row.objections.iter().map(|o| {
                    let lacks: Vec<_> = o.lacks.iter().map(|l| format!("{} {}/{}", l.what, l.needed, l.has)).collect();
                    format!("{} [{}]", o.plugin, lacks.join(", "))
                });
                format!("{}: {}", row.node, objections.collect::<Vec<_>>().join("; "))
            })
            .collect();
        assert_eq!(
            shown,
            [
                "taken: NodePorts [port 80/TCP free/taken by d/web]",
                "close: NodeResourcesFit [cpu 3/2500m]",
                "small: NodeResourcesFit [cpu 3/1]",
                "tainted: TaintToleration [toleration gpu=yes:NoSchedule/none]",
            ]
        );
    }

    #[test]
    fn every_objection_is_told_and_rows_are_bounded() {
        let profile = Profile::new(&ProfileConfig::default(), 0).unwrap();
        let picky = pod("p", json!({"nodeSelector": {"disk": "ssd", "zone": "a"}}));
        let explanation = explain(&profile, &cluster().snapshot, &picky, 1);
        assert_eq!(explanation.table.len(), 1);
        let row = &explanation.table[0];
        assert_eq!(row.node, "taken");
        let plugins: Vec<_> = row.objections.iter().map(|o| o.plugin).collect();
        assert_eq!(plugins, ["NodeAffinity", "NodePorts"]);
        let lacks: Vec<_> = row.objections[0].lacks.iter().map(|l| (l.what.as_str(), l.has.as_str())).collect();
        assert_eq!(lacks, [("label disk", "hdd"), ("label zone", "none")]);
    }

    #[test]
    fn what_holds_a_pod_back_is_told_without_nodes() {
        let profile = Profile::new(&ProfileConfig::default(), 0).unwrap();
        let gated = pod("p", json!({"schedulingGates": [{"name": "wait"}]}));
        let explanation = explain(&profile, &cluster().snapshot, &gated, 10);
        let before = explanation.before.unwrap();
        assert_eq!(
            (before.plugin, before.reasons[0].as_str()),
            ("SchedulingGates", "waiting for scheduling gates: [wait]")
        );
        assert!(explanation.table.is_empty());
        let claim = pod("p", json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}));
        let before = explain(&profile, &cluster().snapshot, &claim, 10).before.unwrap();
        assert_eq!(before.reasons, ["persistentvolumeclaim \"c\" not found"]);
    }

    #[test]
    fn room_that_is_kept_for_others_is_told() {
        let profile = Profile::new(&ProfileConfig::default(), 0).unwrap();
        let mut cache = Cache::default();
        cache.set_node(node("n", "4", json!({})));
        let vip = pod("vip", json!({"priority": 9}));
        cache.snapshot.nominated.entry("n".to_owned()).or_default().push(Arc::new(vip));
        cache.snapshot.settle();
        let explanation = explain(&profile, &cache.snapshot, &pod("p", json!({})), 10);
        let objection = &explanation.table[0].objections[0];
        assert!(objection.reasons.last().unwrap().contains("nominated"), "{objection:?}");
    }
}
