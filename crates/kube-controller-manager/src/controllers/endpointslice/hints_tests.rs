//! Tables over hints.

use std::sync::Arc;

use api_types::k8s_openapi::api::{
    core::v1::{Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{
    hints::Zones,
    plan::{self, Plan, Surroundings},
};

/// A world whose pods are named after their zones: `a0` is on the node `node-a` in the zone `a`.
struct World {
    service: Service,
    pods: Vec<Arc<Pod>>,
    nodes: Vec<Arc<Node>>,
    slices: Vec<Arc<EndpointSlice>>,
    shared_out: bool,
    max: usize,
}

fn node(zone: &str, cpu: &str) -> Arc<Node> {
    let labels = json!({"topology.kubernetes.io/zone": zone});
    let node = json!({"metadata": {"name": format!("node-{zone}"), "labels": labels}, "status": {
        "allocatable": {"cpu": cpu}, "conditions": [{"type": "Ready", "status": "True"}]}});
    Arc::new(serde_json::from_value(node).unwrap())
}

fn pod(name: &str, number: usize) -> Arc<Pod> {
    let node = format!("node-{}", &name[..1]);
    let pod = json!({"metadata": {"name": name, "namespace": "ns", "uid": name},
        "spec": {"nodeName": node, "containers": []},
        "status": {"phase": "Running", "podIP": format!("10.0.0.{number}"), "conditions": [{"type": "Ready", "status": "True"}]}});
    Arc::new(serde_json::from_value(pod).unwrap())
}

impl World {
    fn new(annotations: Value, spec: Value, zones: &[(&str, &str)], pods: &[&str]) -> Self {
        let mut service = json!({"metadata": {"name": "web", "namespace": "ns", "uid": "s", "annotations": annotations},
            "spec": {"clusterIP": "10.0.0.1", "ipFamilies": ["IPv4"], "selector": {"app": "web"}, "ports": [{"port": 80}]}});
        service["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let mut world = Self {
            service: serde_json::from_value(service).unwrap(),
            pods: Vec::new(),
            nodes: zones.iter().map(|(zone, cpu)| node(zone, cpu)).collect(),
            slices: Vec::new(),
            shared_out: false,
            max: 100,
        };
        world.set_pods(pods);
        world
    }

    fn auto(zones: &[(&str, &str)], pods: &[&str]) -> Self {
        Self::new(json!({"service.kubernetes.io/topology-mode": "Auto"}), json!({}), zones, pods)
    }

    fn set_pods(&mut self, names: &[&str]) {
        self.pods = names.iter().enumerate().map(|(number, name)| pod(name, number)).collect();
    }

    /// Plans and writes; the reasons of what is told.
    fn step(&mut self) -> (Plan, Vec<String>) {
        let around = Surroundings {
            node: &|name| self.nodes.iter().find(|node| node.name_any() == name).cloned(),
            zones: Zones::of(&self.nodes),
            shared_out: self.shared_out,
            max: self.max,
        };
        let plan = plan::plan(&self.service, &self.pods, &around, &self.slices);
        self.shared_out = plan.shared_out;
        for mut slice in plan.create.clone() {
            slice.metadata.name = Some(format!("web-{}", self.slices.len()));
            self.slices.push(Arc::new(slice));
        }
        for slice in plan.update.clone() {
            let old = self.slices.iter_mut().find(|old| old.name_any() == slice.name_any()).unwrap();
            *old = Arc::new(slice);
        }
        let told = plan.notes.iter().map(|(_, reason, message)| format!("{reason}: {message}")).collect();
        (plan, told)
    }

    /// `pod>zone/node` for each endpoint.
    fn hints(&self) -> Vec<String> {
        let endpoints = self.slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
        let mut all: Vec<_> = endpoints
            .map(|endpoint| {
                let hints = endpoint.hints.clone().unwrap_or_default();
                let zones: Vec<_> = hints.for_zones.into_iter().flatten().map(|zone| zone.name).collect();
                let nodes: Vec<_> = hints.for_nodes.into_iter().flatten().map(|node| node.name).collect();
                let name = endpoint.target_ref.as_ref().unwrap().name.clone().unwrap();
                format!("{name}>{}/{}", zones.join("+"), nodes.join("+"))
            })
            .collect();
        all.sort();
        all
    }

    /// How many endpoints each zone has by hints.
    fn shares(&self) -> Vec<(String, usize)> {
        let mut shares = std::collections::BTreeMap::<String, usize>::new();
        for hint in self.hints() {
            *shares.entry(hint.split(['>', '/']).nth(1).unwrap().to_owned()).or_default() += 1;
        }
        shares.into_iter().collect()
    }
}

const TWO: [(&str, &str); 2] = [("a", "4"), ("b", "4")];

#[test]
fn close_traffic_stays_in_the_zone_or_on_the_node() {
    for (distribution, want) in [
        (json!("PreferClose"), "a0>a/"),
        (json!("PreferSameZone"), "a0>a/"),
        (json!("PreferSameNode"), "a0>a/node-a"),
        (json!("example.com/other"), "a0>/"),
        (Value::Null, "a0>/"),
    ] {
        let spec = json!({"trafficDistribution": distribution});
        let mut world = World::new(json!({}), spec.clone(), &TWO, &["a0", "b0"]);
        world.step();
        assert_eq!(world.hints()[0], want, "{spec}");
        assert!(world.step().0.is_empty(), "{spec}");
    }
    // The annotation wins.
    let annotations = json!({"service.kubernetes.io/topology-aware-hints": "auto"});
    let mut world = World::new(annotations, json!({"trafficDistribution": "PreferSameNode"}), &TWO, &["a0", "b0"]);
    world.step();
    assert_eq!(world.hints(), ["a0>a/", "b0>b/"]);
}

#[test]
fn hints_follow_the_service() {
    let mut world = World::new(json!({}), json!({"trafficDistribution": "PreferClose"}), &TWO, &["a0", "b0"]);
    world.step();
    world.service.spec.as_mut().unwrap().traffic_distribution = Some("PreferSameNode".into());
    world.step();
    assert_eq!(world.hints(), ["a0>a/node-a", "b0>b/node-b"]);
    world.service.spec.as_mut().unwrap().traffic_distribution = None;
    world.step();
    assert_eq!(world.hints(), ["a0>/", "b0>/"]);
}

#[test]
fn an_endpoint_that_is_not_ready_has_no_hint() {
    let mut world = World::new(json!({}), json!({"trafficDistribution": "PreferClose"}), &TWO, &["a0"]);
    Arc::make_mut(&mut world.pods[0]).status.as_mut().unwrap().conditions = None;
    world.step();
    assert_eq!(world.hints(), ["a0>/"]);
}

#[test]
fn endpoints_are_shared_out_by_cpus() {
    for (zones, pods, want) in [
        (&TWO[..], &["a0", "a1", "a2", "b0"][..], &[("a", 2), ("b", 2)][..]),
        (&[("a", "2"), ("b", "6")], &["a0", "a1", "a2", "b0"], &[("a", 1), ("b", 3)]),
        (&TWO, &["a0", "a1", "a2", "a3"], &[("a", 2), ("b", 2)]),
        (&TWO, &["a0", "a1", "a2", "a3", "b0", "b1"], &[("a", 3), ("b", 3)]),
        (&[("a", "1"), ("b", "1"), ("c", "1")], &["a0", "a1", "a2", "b0", "b1", "b2"], &[("a", 2), ("b", 2), ("c", 2)]),
    ] {
        let mut world = World::auto(zones, pods);
        let told = world.step().1;
        let want: Vec<_> = want.iter().map(|(zone, count)| ((*zone).to_owned(), *count)).collect();
        assert_eq!(world.shares(), want, "{zones:?} {pods:?}");
        assert_eq!(told, ["TopologyAwareHintsEnabled: Topology Aware Hints has been enabled, addressType: IPv4"]);
        let (plan, told) = world.step();
        assert!(plan.is_empty() && told.is_empty(), "{zones:?} {pods:?}");
    }
}

#[test]
fn without_a_fair_share_there_are_no_hints() {
    let node = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes";
    for (zones, pods, why) in [
        (&[("a", "4")][..], &["a0", "a1"][..], node),
        (&[("a", "4"), ("b", "0")], &["a0", "a1"], node),
        (&[("a", "4"), ("", "4"), ("b", "4")], &["a0", "b1"], node),
        (&TWO, &["a0"], "Insufficient number of endpoints (1 endpoints, 2 zones)"),
        (
            &[("a", "1"), ("b", "9")],
            &["a0", "b0"],
            "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold (2 endpoints, 2 zones)",
        ),
        (&TWO, &["a0", "a1", "b0", "x0"], "One or more endpoints do not have a zone specified"),
    ] {
        let mut world = World::auto(zones, pods);
        let told = world.step().1;
        assert_eq!(told, [format!("TopologyAwareHintsDisabled: {why}, addressType: IPv4")], "{zones:?} {pods:?}");
        assert!(world.hints().iter().all(|hint| hint.ends_with(">/")), "{:?}", world.hints());
    }
}

#[test]
fn good_hints_stay_in_slices_that_do_not_change() {
    let mut world = World::auto(&TWO, &["a0", "a1", "a2", "a3"]);
    world.max = 2;
    world.step();
    let before = world.hints();
    assert_eq!(before, ["a0>b/", "a1>b/", "a2>a/", "a3>a/"]);
    // Two more pods of the other zone get a slice of their own; the others keep what they have.
    world.set_pods(&["a0", "a1", "a2", "a3", "b0", "b1"]);
    let (plan, _) = world.step();
    assert_eq!((plan.create.len(), plan.update.len()), (1, 0));
    assert_eq!(world.hints()[..4], before);
    assert_eq!(world.shares(), [("a".to_owned(), 3), ("b".to_owned(), 3)]);
    // The zones' shares change: the slice that has too much for a zone is shared out anew.
    world.nodes = vec![node("a", "7"), node("b", "1")];
    assert_eq!(world.step().0.update.len(), 1);
    assert_eq!(world.shares(), [("a".to_owned(), 5), ("b".to_owned(), 1)]);
    world.service.metadata.annotations = None;
    let told = world.step().1;
    assert_eq!(told, ["TopologyAwareHintsDisabled: Topology Aware Hints has been disabled, addressType: IPv4"]);
    assert!(world.hints().iter().all(|hint| hint.ends_with(">/")));
}

#[test]
fn the_control_plane_and_nodes_that_are_not_ready_take_no_load() {
    let mut unready = node("c", "4");
    Arc::make_mut(&mut unready).status.as_mut().unwrap().conditions = None;
    let mut control_plane = node("d", "4");
    Arc::make_mut(&mut control_plane)
        .labels_mut()
        .insert("node-role.kubernetes.io/control-plane".into(), String::new());
    let zones = Zones::of(&[node("a", "1"), node("b", "1"), unready, control_plane]);
    assert_eq!(zones, Zones::of(&[node("a", "4"), node("b", "4")]));
}
