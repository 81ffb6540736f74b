//! Placement by the API's documentation: each rule by itself, over plain JSON, with nothing kept and nothing shared with the scheduler.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// The cluster as plain objects.
#[derive(Clone, Default)]
pub(crate) struct World {
    pub(crate) nodes: Vec<Value>,
    /// Pods on nodes.
    pub(crate) pods: Vec<Value>,
    pub(crate) namespaces: Vec<Value>,
}

const HOSTNAME: &str = "kubernetes.io/hostname";

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn name(object: &Value) -> &str {
    text(&object["metadata"]["name"])
}

fn namespace(pod: &Value) -> &str {
    text(&pod["metadata"]["namespace"])
}

fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["labels"][key].as_str()
}

/// An amount in thousandths for CPU, else in units or bytes.
fn amount(resource: &str, quantity: &Value) -> i64 {
    let quantity = text(quantity);
    let number = |digits: &str| digits.parse::<i64>().unwrap();
    match (quantity.strip_suffix('m'), quantity.strip_suffix("Mi")) {
        (Some(milli), _) => number(milli),
        (_, Some(mebi)) => number(mebi) * 1024 * 1024,
        _ if resource == "cpu" => number(quantity) * 1000,
        _ => number(quantity),
    }
}

impl World {
    fn on<'a>(&'a self, node: &'a Value) -> impl Iterator<Item = &'a Value> {
        self.pods.iter().filter(move |pod| text(&pod["spec"]["nodeName"]) == name(node))
    }

    fn node_of(&self, pod: &Value) -> Option<&Value> {
        self.nodes.iter().find(|node| name(node) == text(&pod["spec"]["nodeName"]))
    }

    /// The nodes that can run the pod.
    pub(crate) fn feasible(&self, pod: &Value) -> BTreeSet<String> {
        let fits = |node: &&Value| {
            is_open(pod, node)
                && accepts_taints(pod, node)
                && wants_node(pod, node)
                && self.has_ports(pod, node)
                && self.has_room(pod, node)
                && self.is_spread(pod, node)
                && self.is_in_company(pod, node)
        };
        self.nodes.iter().filter(fits).map(|node| name(node).to_owned()).collect()
    }

    // --- resources ---

    fn has_room(&self, pod: &Value, node: &Value) -> bool {
        let allocatable = &node["status"]["allocatable"];
        let there = |resource: &str| match &allocatable[resource] {
            Value::Null => 0,
            quantity => amount(resource, quantity),
        };
        let fits = |(resource, wanted): (&String, &i64)| {
            let taken: i64 = self.on(node).map(|p| requests(p, None).get(resource).copied().unwrap_or(0)).sum();
            *wanted == 0 || taken + wanted <= there(resource)
        };
        (self.on(node).count() as i64) < there("pods") && requests(pod, None).iter().all(fits)
    }

    fn has_ports(&self, pod: &Value, node: &Value) -> bool {
        let any = |ip: &str| ip.is_empty() || ip == "0.0.0.0";
        let conflict = |(ip, protocol, port): &(String, String, i64),
                        (ip2, protocol2, port2): &(String, String, i64)| {
            port == port2 && protocol == protocol2 && (any(ip) || any(ip2) || ip == ip2)
        };
        let wanted = host_ports(pod);
        !self.on(node).flat_map(host_ports).any(|taken| wanted.iter().any(|w| conflict(w, &taken)))
    }

    // --- spreading ---

    /// Pods that the constraint counts on the node.
    fn counted(&self, pod: &Value, constraint: &Value, node: &Value) -> i64 {
        self.on(node)
            .filter(|p| namespace(p) == namespace(pod) && p["metadata"]["deletionTimestamp"].is_null())
            .filter(|p| spread_selects(constraint, pod, p))
            .count() as i64
    }

    /// The domains of the constraint with the pods that count there, over nodes that are in question.
    fn domains(&self, pod: &Value, constraint: &Value, all: &[&Value]) -> BTreeMap<String, i64> {
        let mut domains = BTreeMap::new();
        let has_all = |node: &&Value| all.iter().all(|c| label(node, text(&c["topologyKey"])).is_some());
        for node in self.nodes.iter().filter(has_all).filter(|node| is_in_question(pod, constraint, node)) {
            let domain = label(node, text(&constraint["topologyKey"])).unwrap().to_owned();
            *domains.entry(domain).or_default() += self.counted(pod, constraint, node);
        }
        domains
    }

    fn is_spread(&self, pod: &Value, node: &Value) -> bool {
        let all = constraints(pod, "DoNotSchedule");
        all.iter().all(|constraint| {
            let Some(domain) = label(node, text(&constraint["topologyKey"])) else { return false };
            let domains = self.domains(pod, constraint, &all);
            let enough = domains.len() as i64 >= constraint["minDomains"].as_i64().unwrap_or(1);
            let least = if enough { domains.values().copied().min() } else { Some(0) };
            let own = i64::from(spread_selects(constraint, pod, pod));
            let here = domains.get(domain).copied().unwrap_or(0) + own;
            // Where no domain is in question there is nothing to be uneven with.
            least.is_none_or(|least| here - least <= constraint["maxSkew"].as_i64().unwrap())
        })
    }

    // --- company ---

    fn term_means(&self, term: &Value, owner: &Value, pod: &Value) -> bool {
        let named = list(&term["namespaces"]);
        let by_selector = &term["namespaceSelector"];
        let here = if named.is_empty() && by_selector.is_null() {
            namespace(pod) == namespace(owner)
        } else {
            let space = self.namespaces.iter().find(|n| name(n) == namespace(pod));
            named.iter().any(|n| text(n) == namespace(pod))
                || (!by_selector.is_null() && space.is_some_and(|space| selects(by_selector, space)))
        };
        here && selects(&term["labelSelector"], pod)
    }

    fn shares(&self, term: &Value, node: &Value, pod: &Value) -> bool {
        let key = text(&term["topologyKey"]);
        let place = label(node, key);
        place.is_some() && self.node_of(pod).and_then(|other| label(other, key)) == place
    }

    fn is_in_company(&self, pod: &Value, node: &Value) -> bool {
        let wanted = terms(pod, "podAffinity", "required");
        let means_all = |other: &Value| wanted.iter().all(|term| self.term_means(term, pod, other));
        let is_placed = |other: &&Value| {
            wanted.iter().any(|term| self.node_of(other).and_then(|n| label(n, text(&term["topologyKey"]))).is_some())
        };
        let nobody = !self.pods.iter().filter(|other| means_all(other)).any(|other| is_placed(&other));
        let near = wanted.iter().all(|term| {
            label(node, text(&term["topologyKey"])).is_some()
                && ((nobody && means_all(pod)) || self.pods.iter().any(|p| means_all(p) && self.shares(term, node, p)))
        });
        let far = terms(pod, "podAntiAffinity", "required")
            .iter()
            .all(|term| !self.pods.iter().any(|p| self.term_means(term, pod, p) && self.shares(term, node, p)));
        let welcome = self.pods.iter().all(|other| {
            let against = terms(other, "podAntiAffinity", "required");
            !against.iter().any(|term| self.term_means(term, other, pod) && self.shares(term, node, other))
        });
        near && far && welcome
    }

    // --- scores ---

    /// Each plugin's weighted scores of the nodes.
    pub(crate) fn scores(&self, pod: &Value, feasible: &[String]) -> BTreeMap<&'static str, Vec<i64>> {
        let nodes: Vec<&Value> =
            feasible.iter().map(|n| self.nodes.iter().find(|node| name(node) == n).unwrap()).collect();
        let weighted = |weight: i64, scores: Vec<i64>| scores.into_iter().map(|s| s * weight).collect::<Vec<_>>();
        let each = |score: &dyn Fn(&Value) -> i64| nodes.iter().map(|node| score(node)).collect::<Vec<_>>();
        BTreeMap::from([
            ("TaintToleration", weighted(3, by_highest(each(&|node| disliked(pod, node)), true))),
            ("NodeAffinity", weighted(2, by_highest(each(&|node| preferred(pod, node)), false))),
            ("NodeResourcesFit", each(&|node| self.emptiness(pod, node))),
            ("NodeResourcesBalancedAllocation", each(&|node| self.balance(pod, node))),
            ("ImageLocality", each(&|node| self.images(pod, node))),
            ("InterPodAffinity", weighted(2, by_range(each(&|node| self.company(pod, node))))),
            ("PodTopologySpread", weighted(2, self.spreading(pod, &nodes))),
        ])
    }

    /// How much of CPU and memory stays free, in percent, where a container that requests nothing counts as a little.
    fn emptiness(&self, pod: &Value, node: &Value) -> i64 {
        let free = |resource: &str, least: i64| {
            let capacity = amount(resource, &node["status"]["allocatable"][resource]);
            let least = Some((resource, least));
            let used: i64 =
                self.on(node).chain([pod]).map(|p| requests(p, least).get(resource).copied().unwrap_or(0)).sum();
            if used > capacity { 0 } else { (capacity - used) * 100 / capacity }
        };
        (free("cpu", 100) + free("memory", 200 * 1024 * 1024)) / 2
    }

    fn balance(&self, pod: &Value, node: &Value) -> i64 {
        let own = requests(pod, None);
        let of = |all: &BTreeMap<String, i64>, resource: &str| all.get(resource).copied().unwrap_or(0);
        let level = |with: i64| {
            let part = |resource: &str| {
                let capacity = amount(resource, &node["status"]["allocatable"][resource]) as f64;
                let used: i64 = self.on(node).map(|p| of(&requests(p, None), resource)).sum();
                ((used + with * of(&own, resource)) as f64 / capacity).min(1.0)
            };
            ((1.0 - ((part("cpu") - part("memory")) / 2.0).abs()) * 100.0) as i64
        };
        if of(&own, "cpu") == 0 && of(&own, "memory") == 0 { 0 } else { (150 + level(1) - level(0)) / 2 }
    }

    fn images(&self, pod: &Value, node: &Value) -> i64 {
        let (least, containers) =
            (23 * 1024 * 1024, list(&pod["spec"]["initContainers"]).iter().chain(list(&pod["spec"]["containers"])));
        let size = |node: &Value, image: &str| {
            let found =
                list(&node["status"]["images"]).iter().find(|i| list(&i["names"]).iter().any(|n| text(n) == image));
            found.and_then(|i| i["sizeBytes"].as_i64())
        };
        let (mut sum, mut count) = (0, 0);
        for container in containers {
            count += 1;
            let image = text(&container["image"]);
            let image = if image.contains(':') { image.to_owned() } else { format!("{image}:latest") };
            let having = self.nodes.iter().filter(|n| size(n, &image).is_some()).count();
            if let Some(size) = size(node, &image) {
                sum += (size as f64 * (having as f64 / self.nodes.len() as f64)) as i64;
            }
        }
        let most = count * 1000 * 1024 * 1024;
        100 * (sum.clamp(least, most) - least) / (most - least)
    }

    fn company(&self, pod: &Value, node: &Value) -> i64 {
        let mut sum = 0;
        for (kind, sign) in [("podAffinity", 1), ("podAntiAffinity", -1)] {
            for other in &self.pods {
                for preference in terms(pod, kind, "preferred") {
                    let term = &preference["podAffinityTerm"];
                    let near = self.term_means(term, pod, other) && self.shares(term, node, other);
                    sum += if near { sign * preference["weight"].as_i64().unwrap() } else { 0 };
                }
                for preference in terms(other, kind, "preferred") {
                    let term = &preference["podAffinityTerm"];
                    let near = self.term_means(term, other, pod) && self.shares(term, node, other);
                    sum += if near { sign * preference["weight"].as_i64().unwrap() } else { 0 };
                }
            }
        }
        // Who requires company is glad of it, with the default weight of one.
        for other in &self.pods {
            let glad = |term: &&&Value| self.term_means(term, other, pod) && self.shares(term, node, other);
            sum += terms(other, "podAffinity", "required").iter().filter(glad).count() as i64;
        }
        sum
    }

    fn spreading(&self, pod: &Value, nodes: &[&Value]) -> Vec<i64> {
        let all = constraints(pod, "ScheduleAnyway");
        if all.is_empty() {
            return vec![0; nodes.len()];
        }
        let complete = |node: &Value| all.iter().all(|c| label(node, text(&c["topologyKey"])).is_some());
        let judged: Vec<&&Value> = nodes.iter().filter(|node| complete(node)).collect();
        let raw = |node: &Value| {
            let mut sum = 0.0;
            for constraint in &all {
                let key = text(&constraint["topologyKey"]);
                let places: BTreeSet<_> = judged.iter().map(|n| label(n, key)).collect();
                let (count, size) = if key == HOSTNAME {
                    (self.counted(pod, constraint, node), judged.len())
                } else {
                    let domains = self.domains(pod, constraint, &all);
                    (domains.get(label(node, key).unwrap()).copied().unwrap_or(0), places.len())
                };
                sum += count as f64 * ((size + 2) as f64).ln() + (constraint["maxSkew"].as_i64().unwrap() - 1) as f64;
            }
            sum.round() as i64
        };
        let scores: Vec<Option<i64>> = nodes.iter().map(|node| complete(node).then(|| raw(node))).collect();
        let (least, most) =
            (scores.iter().flatten().min().copied().unwrap_or(0), scores.iter().flatten().max().copied().unwrap_or(0));
        let normal = |score: &Option<i64>| match score {
            None => 0,
            Some(_) if most == 0 => 100,
            Some(score) => 100 * (most + least - score) / most,
        };
        scores.iter().map(normal).collect()
    }
}

// --- requests ---

/// What the pod requests; `least` is a resource and what a container that does not name it counts as.
fn requests(pod: &Value, least: Option<(&str, i64)>) -> BTreeMap<String, i64> {
    let of = |container: &Value| {
        let mut all: BTreeMap<String, i64> = BTreeMap::new();
        for (resource, quantity) in container["resources"]["requests"].as_object().into_iter().flatten() {
            all.insert(resource.clone(), amount(resource, quantity));
        }
        if let Some((resource, least)) = least {
            all.entry(resource.to_owned()).or_insert(least);
        }
        all
    };
    let add = |sum: &mut BTreeMap<String, i64>, more: &BTreeMap<String, i64>| {
        more.iter().for_each(|(resource, amount)| *sum.entry(resource.clone()).or_default() += amount);
    };
    // Sidecars run on; the other init containers run alone beside the sidecars before them.
    let (mut sidecars, mut peak) = (BTreeMap::new(), BTreeMap::new());
    for container in list(&pod["spec"]["initContainers"]) {
        let mut now = of(container);
        if container["restartPolicy"] == "Always" {
            add(&mut sidecars, &now);
            now = sidecars.clone();
        } else {
            add(&mut now, &sidecars);
        }
        for (resource, amount) in now {
            let most: &mut i64 = peak.entry(resource).or_default();
            *most = amount.max(*most);
        }
    }
    let mut sum = sidecars;
    list(&pod["spec"]["containers"]).iter().for_each(|container| add(&mut sum, &of(container)));
    for (resource, amount) in peak {
        let most = sum.entry(resource).or_default();
        *most = amount.max(*most);
    }
    for (resource, quantity) in pod["spec"]["resources"]["requests"].as_object().into_iter().flatten() {
        sum.insert(resource.clone(), amount(resource, quantity));
    }
    for (resource, quantity) in pod["spec"]["overhead"].as_object().into_iter().flatten() {
        *sum.entry(resource.clone()).or_default() += amount(resource, quantity);
    }
    sum
}

fn host_ports(pod: &Value) -> Vec<(String, String, i64)> {
    let ports = list(&pod["spec"]["containers"]).iter().flat_map(|c| list(&c["ports"]));
    ports
        .filter_map(|p| Some((text(&p["hostIP"]).to_owned(), text(&p["protocol"]).to_owned(), p["hostPort"].as_i64()?)))
        .collect()
}

// --- nodes ---

fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let matches = |field: &str| text(&toleration[field]).is_empty() || toleration[field] == taint[field];
    matches("effect")
        && matches("key")
        && (toleration["operator"] == "Exists" || text(&toleration["value"]) == text(&taint["value"]))
}

fn tolerated(pod: &Value, taint: &Value) -> bool {
    list(&pod["spec"]["tolerations"]).iter().any(|t| tolerates(t, taint))
}

fn is_open(pod: &Value, node: &Value) -> bool {
    let cordon = serde_json::json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"});
    node["spec"]["unschedulable"] != true || tolerated(pod, &cordon)
}

fn accepts_taints(pod: &Value, node: &Value) -> bool {
    list(&node["spec"]["taints"]).iter().all(|taint| taint["effect"] == "PreferNoSchedule" || tolerated(pod, taint))
}

fn disliked(pod: &Value, node: &Value) -> i64 {
    let soft = list(&node["spec"]["taints"]).iter().filter(|taint| taint["effect"] == "PreferNoSchedule");
    soft.filter(|taint| !tolerated(pod, taint)).count() as i64
}

fn requirement_holds(requirement: &Value, value: Option<&str>) -> bool {
    let values: Vec<&str> = list(&requirement["values"]).iter().map(text).collect();
    let number = |text: Option<&str>| text.and_then(|t| t.parse::<i64>().ok());
    match text(&requirement["operator"]) {
        "In" => value.is_some_and(|v| values.contains(&v)),
        "NotIn" => value.is_none_or(|v| !values.contains(&v)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => number(value).is_some_and(|v| v > number(values.first().copied()).unwrap()),
        "Lt" => number(value).is_some_and(|v| v < number(values.first().copied()).unwrap()),
        other => panic!("operator {other}"),
    }
}

fn term_wants(term: &Value, node: &Value) -> bool {
    list(&term["matchExpressions"]).iter().all(|r| requirement_holds(r, label(node, text(&r["key"]))))
        && list(&term["matchFields"]).iter().all(|r| requirement_holds(r, Some(name(node))))
}

fn wants_node(pod: &Value, node: &Value) -> bool {
    let selected =
        pod["spec"]["nodeSelector"].as_object().into_iter().flatten().all(|(k, v)| label(node, k) == v.as_str());
    let required = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    selected && (required.is_null() || list(&required["nodeSelectorTerms"]).iter().any(|term| term_wants(term, node)))
}

fn preferred(pod: &Value, node: &Value) -> i64 {
    let all = &pod["spec"]["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"];
    list(all).iter().filter(|p| term_wants(&p["preference"], node)).map(|p| p["weight"].as_i64().unwrap()).sum()
}

// --- selectors and constraints ---

fn selects(selector: &Value, object: &Value) -> bool {
    !selector.is_null()
        && selector["matchLabels"].as_object().into_iter().flatten().all(|(k, v)| label(object, k) == v.as_str())
        && list(&selector["matchExpressions"]).iter().all(|r| requirement_holds(r, label(object, text(&r["key"]))))
}

fn constraints<'a>(pod: &'a Value, when: &str) -> Vec<&'a Value> {
    list(&pod["spec"]["topologySpreadConstraints"]).iter().filter(|c| c["whenUnsatisfiable"] == when).collect()
}

fn spread_selects(constraint: &Value, owner: &Value, pod: &Value) -> bool {
    let mut keys = list(&constraint["matchLabelKeys"]).iter().map(text).filter(|key| label(owner, key).is_some());
    selects(&constraint["labelSelector"], pod) && keys.all(|key| label(owner, key) == label(pod, key))
}

fn is_in_question(pod: &Value, constraint: &Value, node: &Value) -> bool {
    (constraint["nodeAffinityPolicy"] == "Ignore" || wants_node(pod, node))
        && (constraint["nodeTaintsPolicy"] != "Honor" || accepts_taints(pod, node))
}

fn terms<'a>(pod: &'a Value, kind: &str, how: &str) -> Vec<&'a Value> {
    list(&pod["spec"]["affinity"][kind][format!("{how}DuringSchedulingIgnoredDuringExecution")]).iter().collect()
}

// --- normal scores ---

fn by_highest(scores: Vec<i64>, reverse: bool) -> Vec<i64> {
    let most = scores.iter().copied().max().unwrap_or(0);
    let scaled = scores.iter().map(|s| if most == 0 { 0 } else { 100 * s / most });
    scaled.map(|s| if reverse { 100 - s } else { s }).collect()
}

fn by_range(scores: Vec<i64>) -> Vec<i64> {
    let (least, most) = (scores.iter().copied().min().unwrap_or(0), scores.iter().copied().max().unwrap_or(0));
    let part = |score: i64| if most > least { (score - least) as f64 / (most - least) as f64 } else { 0.0 };
    scores.iter().map(|s| (100.0 * part(*s)) as i64).collect()
}
