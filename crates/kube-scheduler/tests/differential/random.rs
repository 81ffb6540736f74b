//! Random clusters and pods, made from a seed: small, crowded, and full of rules that meet each other.

use serde_json::{Map, Value, json};

/// Numbers from a seed (splitmix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

const APPS: &[&str] = &["web", "db", "cache"];
const ZONES: &[&str] = &["a", "b", "c"];
const KEYS: &[&str] = &["zone", "kubernetes.io/hostname", "rack"];
const NAMESPACES: &[&str] = &["red", "blue"];
const EFFECTS: &[&str] = &["NoSchedule", "NoExecute", "PreferNoSchedule"];
const IMAGES: &[&str] = &["registry/a:1", "registry/b:1", "registry/c"];

/// The namespaces of every cluster with their labels.
pub(crate) fn namespaces() -> Vec<Value> {
    vec![
        json!({"metadata": {"name": "red", "labels": {"team": "one"}}}),
        json!({"metadata": {"name": "blue", "labels": {"team": "two"}}}),
    ]
}

pub(crate) fn node(dice: &mut Dice, name: &str) -> Value {
    let mut labels = Map::new();
    labels.insert("kubernetes.io/hostname".into(), json!(name));
    if dice.chance(90) {
        labels.insert("zone".into(), json!(dice.pick(ZONES)));
    }
    if dice.chance(60) {
        labels.insert("rack".into(), json!(format!("r{}", dice.below(4))));
    }
    if dice.chance(50) {
        labels.insert("cores".into(), json!(format!("{}", 1 + dice.below(8))));
    }
    let taints: Vec<Value> = (0..dice.below(12).saturating_sub(9))
        .map(
            |_| json!({"key": dice.pick(&["k1", "k2"]), "value": dice.pick(&["x", "y"]), "effect": dice.pick(EFFECTS)}),
        )
        .collect();
    let images: Vec<Value> = (0..dice.below(3))
        .map(|n| {
            let name = if IMAGES[n].contains(':') { IMAGES[n].to_owned() } else { format!("{}:latest", IMAGES[n]) };
            json!({"names": [name], "sizeBytes": (1 + dice.below(900)) * 1024 * 1024})
        })
        .collect();
    let mut allocatable = json!({
        "cpu": format!("{}m", 500 * (1 + dice.below(6))), "memory": format!("{}Mi", 256 * (1 + dice.below(8))),
        "pods": format!("{}", 2 + dice.below(8)),
    });
    if dice.chance(40) {
        allocatable["example.com/gpu"] = json!(format!("{}", dice.below(4)));
    }
    json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {"unschedulable": dice.chance(6), "taints": taints},
        "status": {"allocatable": allocatable, "images": images},
    })
}

fn requests(dice: &mut Dice) -> Value {
    let mut requests = Map::new();
    if dice.chance(70) {
        requests.insert("cpu".into(), json!(format!("{}m", 50 * dice.below(12))));
    }
    if dice.chance(70) {
        requests.insert("memory".into(), json!(format!("{}Mi", 32 * dice.below(12))));
    }
    if dice.chance(10) {
        requests.insert("example.com/gpu".into(), json!(format!("{}", 1 + dice.below(2))));
    }
    json!({"requests": requests})
}

fn selector(dice: &mut Dice) -> Value {
    match dice.below(4) {
        0 => {
            json!({"matchExpressions": [{"key": "app", "operator": "In", "values": [dice.pick(APPS), dice.pick(APPS)]}]})
        }
        1 => json!({"matchExpressions": [{"key": "app", "operator": dice.pick(&["Exists", "NotIn"]), "values": null}],
            "matchLabels": {"tier": "front"}}),
        _ => json!({"matchLabels": {"app": dice.pick(APPS)}}),
    }
}

fn term(dice: &mut Dice) -> Value {
    let mut term = json!({"labelSelector": selector(dice), "topologyKey": dice.pick(KEYS)});
    match dice.below(6) {
        0 => term["namespaces"] = json!([dice.pick(NAMESPACES)]),
        1 => term["namespaceSelector"] = json!({"matchLabels": {"team": dice.pick(&["one", "two"])}}),
        2 => term["namespaceSelector"] = json!({}),
        _ => {}
    }
    term
}

fn terms(dice: &mut Dice) -> Vec<Value> {
    (0..1 + dice.below(2)).map(|_| term(dice)).collect()
}

fn weighted(dice: &mut Dice) -> Vec<Value> {
    terms(dice).into_iter().map(|t| json!({"weight": 1 + dice.below(100), "podAffinityTerm": t})).collect()
}

fn node_term(dice: &mut Dice) -> Value {
    if dice.chance(8) {
        let names = [format!("n{}", dice.below(12)), format!("n{}", dice.below(12))];
        return json!({"matchFields": [{"key": "metadata.name", "operator": dice.pick(&["In", "NotIn"]), "values": [names[dice.below(2)]]}]});
    }
    let requirements: Vec<Value> = (0..1 + dice.below(2))
        .map(|_| match dice.below(5) {
            0 => json!({"key": "rack", "operator": dice.pick(&["Exists", "DoesNotExist"])}),
            1 => {
                json!({"key": "cores", "operator": dice.pick(&["Gt", "Lt"]), "values": [format!("{}", dice.below(8))]})
            }
            2 => json!({"key": "zone", "operator": "NotIn", "values": [dice.pick(ZONES)]}),
            _ => json!({"key": "zone", "operator": "In", "values": [dice.pick(ZONES), dice.pick(ZONES)]}),
        })
        .collect();
    json!({"matchExpressions": requirements})
}

fn node_terms(dice: &mut Dice) -> Vec<Value> {
    (0..1 + dice.below(2)).map(|_| node_term(dice)).collect()
}

fn constraint(dice: &mut Dice, when: &str) -> Value {
    let mut constraint = json!({"maxSkew": 1 + dice.below(3), "topologyKey": dice.pick(KEYS), "whenUnsatisfiable": when, "labelSelector": selector(dice)});
    if dice.chance(25) && when == "DoNotSchedule" {
        constraint["minDomains"] = json!(1 + dice.below(4));
    }
    if dice.chance(25) {
        constraint["nodeAffinityPolicy"] = json!(dice.pick(&["Ignore", "Honor"]));
    }
    if dice.chance(25) {
        constraint["nodeTaintsPolicy"] = json!(dice.pick(&["Ignore", "Honor"]));
    }
    if dice.chance(20) {
        constraint["matchLabelKeys"] = json!(["tier"]);
    }
    constraint
}

fn affinity(dice: &mut Dice) -> Value {
    let mut affinity = json!({});
    if dice.chance(25) {
        affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
            json!({"nodeSelectorTerms": node_terms(dice)});
    }
    if dice.chance(20) {
        let preferred: Vec<Value> =
            node_terms(dice).into_iter().map(|t| json!({"weight": 1 + dice.below(100), "preference": t})).collect();
        affinity["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"] = json!(preferred);
    }
    for (kind, percent) in [("podAffinity", 20), ("podAntiAffinity", 20)] {
        if dice.chance(percent) {
            affinity[kind]["requiredDuringSchedulingIgnoredDuringExecution"] = json!(terms(dice));
        }
        if dice.chance(percent) {
            affinity[kind]["preferredDuringSchedulingIgnoredDuringExecution"] = json!(weighted(dice));
        }
    }
    affinity
}

fn tolerations(dice: &mut Dice) -> Vec<Value> {
    (0..dice.below(3))
        .map(|_| match dice.below(3) {
            0 => json!({"operator": "Exists", "effect": dice.pick(EFFECTS)}),
            1 => json!({"key": dice.pick(&["k1", "k2"]), "operator": "Exists"}),
            _ => json!({"key": dice.pick(&["k1", "k2"]), "operator": "Equal", "value": dice.pick(&["x", "y"]), "effect": dice.pick(EFFECTS)}),
        })
        .collect()
}

fn containers(dice: &mut Dice) -> Value {
    let all: Vec<Value> = (0..1 + dice.below(2))
        .map(|n| {
            let ports = if dice.chance(12) {
                json!([{"containerPort": 80, "hostPort": 8000 + dice.below(2), "protocol": dice.pick(&["TCP", "UDP"]),
                    "hostIP": dice.pick(&["", "0.0.0.0", "127.0.0.1", "10.0.0.1"])}])
            } else {
                json!([])
            };
            json!({"name": format!("c{n}"), "image": dice.pick(IMAGES), "resources": requests(dice), "ports": ports})
        })
        .collect();
    json!(all)
}

/// What a pod without a name asks for.
pub(crate) fn template(dice: &mut Dice) -> Value {
    let mut labels = Map::new();
    labels.insert("app".into(), json!(dice.pick(APPS)));
    if dice.chance(50) {
        labels.insert("tier".into(), json!(dice.pick(&["front", "back"])));
    }
    let mut spec =
        json!({"containers": containers(dice), "tolerations": tolerations(dice), "affinity": affinity(dice)});
    if dice.chance(20) {
        let mut init = json!({"name": "i", "image": "registry/a:1", "resources": requests(dice)});
        if dice.chance(50) {
            init["restartPolicy"] = json!("Always");
        }
        spec["initContainers"] = json!([init, {"name": "j", "image": "registry/a:1", "resources": requests(dice)}]);
    }
    if dice.chance(10) {
        spec["overhead"] = json!({"cpu": "50m", "memory": "16Mi"});
    }
    if dice.chance(10) {
        spec["resources"] = json!({"requests": {"cpu": format!("{}m", 100 * (1 + dice.below(8)))}});
    }
    if dice.chance(15) {
        spec["nodeSelector"] = json!({"zone": dice.pick(ZONES)});
    }
    let mut constraints: Vec<Value> = Vec::new();
    for (when, percent) in [("DoNotSchedule", 25), ("ScheduleAnyway", 25)] {
        if dice.chance(percent) {
            constraints.extend((0..1 + dice.below(2)).map(|_| constraint(dice, when)));
        }
    }
    // The API allows each key once per answer.
    let mut seen = std::collections::BTreeSet::new();
    constraints.retain(|c| seen.insert((c["topologyKey"].to_string(), c["whenUnsatisfiable"].to_string())));
    spec["topologySpreadConstraints"] = json!(constraints);
    json!({"metadata": {"namespace": dice.pick(NAMESPACES), "labels": labels}, "spec": spec})
}

/// A pod of that kind.
pub(crate) fn pod(template: &Value, name: &str, node: Option<&str>) -> Value {
    let mut pod = template.clone();
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["uid"] = json!(name);
    if let Some(node) = node {
        pod["spec"]["nodeName"] = json!(node);
    }
    pod
}
