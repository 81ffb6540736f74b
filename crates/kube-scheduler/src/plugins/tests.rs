//! Every plugin's rules, table by table, through whole decisions: which nodes can run the pod, or why none can.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    cache::{Cache, PodInfo, catalog::Objects},
    config::ProfileConfig,
    framework::{Profile, Write},
    schedule::{Unschedulable, schedule},
};

fn object<T: DeserializeOwned>(json: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(json).unwrap())
}

fn merged(mut base: Value, more: Value) -> Value {
    base.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    base
}

/// A pod of namespace `d`; `spec` is merged over one container that asks for nothing.
fn pod(name: &str, labels: Value, spec: Value) -> PodInfo {
    let spec = merged(json!({"containers": [{"name": "c"}]}), spec);
    let metadata = json!({"name": name, "namespace": "d", "uid": name, "labels": labels});
    PodInfo::new(object(json!({"metadata": metadata, "spec": spec})))
}

struct World {
    cache: Cache,
    profile: Profile,
}

impl World {
    /// Nodes a and b (4 CPU, 8 GiB, 3 pods) in the zones east and west.
    fn new() -> Self {
        let mut world = World::empty();
        world.node("a", json!({"zone": "east", "disk": "ssd"}), json!({}), json!({}));
        world.node("b", json!({"zone": "west", "disk": "hdd"}), json!({}), json!({}));
        world
    }

    fn empty() -> Self {
        let mut cache = Cache::default();
        put(&mut cache.snapshot.catalog.namespaces, "d", json!({"metadata": {"name": "d", "labels": {"team": "x"}}}));
        World { cache, profile: Profile::new(&ProfileConfig::default(), 0).unwrap() }
    }

    fn node(&mut self, name: &str, labels: Value, spec: Value, allocatable: Value) {
        let allocatable = merged(json!({"cpu": "4", "memory": "8Gi", "pods": "3"}), allocatable);
        let labels = merged(json!({"kubernetes.io/hostname": name}), labels);
        let metadata = json!({"name": name, "labels": labels});
        self.cache
            .set_node(object(json!({"metadata": metadata, "spec": spec, "status": {"allocatable": allocatable}})));
    }

    fn runs(mut self, name: &str, node: &str, labels: Value, spec: Value) -> Self {
        self.cache.set_pod(Arc::new(pod(name, labels, merged(spec, json!({"nodeName": node})))));
        self
    }

    fn args(mut self, plugin: &str, args: Value) -> Self {
        let config = json!({"pluginConfig": [{"name": plugin, "args": args}]});
        self.profile = Profile::new(&serde_json::from_value(config).unwrap(), 0).unwrap();
        self
    }

    /// A bound claim `c` of the volume `v`, which the storage class `s` made.
    fn volume(mut self, metadata: Value, spec: Value) -> Self {
        let catalog = &mut self.cache.snapshot.catalog;
        put(&mut catalog.volumes, "v", json!({"metadata": merged(json!({"name": "v"}), metadata), "spec": spec}));
        self.claim(json!({"volumeName": "v"}), true)
    }

    fn claim(mut self, spec: Value, bound: bool) -> Self {
        let annotations = if bound { json!({"pv.kubernetes.io/bind-completed": "yes"}) } else { json!({}) };
        let metadata = json!({"name": "c", "namespace": "d", "annotations": annotations});
        let phase = if bound { "Bound" } else { "Pending" };
        let claim = json!({"metadata": metadata, "spec": spec, "status": {"phase": phase}});
        put(&mut self.cache.snapshot.catalog.claims, "d/c", claim);
        self
    }

    fn class(mut self, fields: Value) -> Self {
        let class = merged(
            json!({"metadata": {"name": "s"}, "provisioner": "csi", "volumeBindingMode": "WaitForFirstConsumer"}),
            fields,
        );
        put(&mut self.cache.snapshot.catalog.storage_classes, "s", class);
        self
    }

    /// The nodes that can run the pod, or the first sentence of why none can.
    fn judge(&mut self, pod: &PodInfo) -> String {
        self.cache.snapshot.settle();
        match schedule(&self.profile, &self.cache.snapshot, pod, &mut 0, &mut |_| 0) {
            Ok(decision) => {
                let mut names: Vec<_> = decision.feasible.iter().map(|node| node.name()).collect();
                names.sort_unstable();
                names.join(" ")
            }
            Err(why) => {
                let message = why.message();
                let message = message.split_once("available: ").map_or(message.clone(), |(_, why)| why.to_owned());
                message.split(". ").next().unwrap_or_default().trim_end_matches('.').to_owned()
            }
        }
    }

    fn writes(&mut self, pod: &PodInfo) -> Vec<Write> {
        self.cache.snapshot.settle();
        let decision = schedule(&self.profile, &self.cache.snapshot, pod, &mut 0, &mut |_| 0);
        decision
            .unwrap_or_else(|why| panic!("{}", why.message()))
            .writes
            .into_iter()
            .map(|planned| planned.write)
            .collect()
    }

    fn scores(&mut self, plugin: &str, pod: &PodInfo) -> Vec<(String, i64)> {
        self.cache.snapshot.settle();
        let decision = schedule(&self.profile, &self.cache.snapshot, pod, &mut 0, &mut |_| 0);
        let decision = decision.unwrap_or_else(|why| panic!("{}", why.message()));
        let row = decision.scores.iter().find(|(name, _)| *name == plugin).map(|(_, row)| row.clone());
        let names = decision.feasible.iter().map(|node| node.name().to_owned());
        let mut scores: Vec<_> = names.zip(row.unwrap_or_default()).collect();
        scores.sort();
        scores
    }

    fn victims(&mut self, pod: &PodInfo) -> Vec<String> {
        self.cache.snapshot.settle();
        match schedule(&self.profile, &self.cache.snapshot, pod, &mut 0, &mut |_| 0).map(drop) {
            Err(Unschedulable::Unfit { preemption: Some(preemption), .. }) => {
                preemption.victims.iter().map(|victim| victim.name().to_owned()).collect()
            }
            other => panic!("{other:?}"),
        }
    }
}

fn put<T: DeserializeOwned>(into: &mut Objects<T>, key: &str, json: Value) {
    into.insert(key.to_owned(), object(json));
}

fn plain(spec: Value) -> PodInfo {
    pod("p", json!({"app": "web"}), spec)
}

fn requests(amounts: Value) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": amounts}}]})
}

fn uses_claim() -> PodInfo {
    plain(json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}))
}

#[test]
fn names_and_labels_of_nodes() {
    let required = |terms: Value| json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}});
    let label = |key: &str, operator: &str, values: Value| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
    let field = |name: &str| json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]});
    let mismatch = "2 node(s) didn't match Pod's node affinity/selector";
    let table = [
        (json!({}), "a b"),
        (json!({"nodeName": "b"}), "b"),
        (json!({"nodeName": "c"}), "2 node(s) didn't match the requested node name"),
        (json!({"nodeSelector": {"disk": "ssd"}}), "a"),
        (json!({"nodeSelector": {"disk": "tape"}}), mismatch),
        (required(json!([label("disk", "NotIn", json!(["ssd"]))])), "b"),
        (required(json!([label("disk", "In", json!(["ssd"])), label("disk", "In", json!(["hdd"]))])), "a b"),
        (required(json!([label("absent", "Exists", Value::Null)])), mismatch),
        (required(json!([field("a")])), "a"),
        (
            required(json!([merged(field("a"), label("disk", "In", json!(["hdd"])))])),
            "1 node(s) didn't match Pod's node affinity/selector, 1 node(s) didn't satisfy plugin(s) [NodeAffinity]",
        ),
    ];
    for (spec, want) in table {
        assert_eq!(World::new().judge(&plain(spec.clone())), want, "{spec}");
    }
    let terms = json!([label("zone", "In", json!(["east"]))]);
    let added =
        json!({"addedAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
    assert_eq!(World::new().args("NodeAffinity", added).judge(&plain(json!({}))), "a");
}

#[test]
fn nodes_that_keep_pods_away() {
    let with = |spec: Value| {
        let mut world = World::empty();
        world.node("n", json!({}), spec, json!({}));
        world
    };
    let taint = |effect: &str| json!({"taints": [{"key": "k", "value": "v", "effect": effect}]});
    let tolerates = |toleration: Value| json!({"tolerations": [toleration]});
    let untolerated = "1 node(s) had untolerated taint(s)";
    let table = [
        (json!({"unschedulable": true}), json!({}), "1 node(s) were unschedulable"),
        (
            json!({"unschedulable": true}),
            tolerates(json!({"key": "node.kubernetes.io/unschedulable", "operator": "Exists"})),
            "n",
        ),
        (taint("NoSchedule"), json!({}), untolerated),
        (taint("NoExecute"), json!({}), untolerated),
        (taint("PreferNoSchedule"), json!({}), "n"),
        (taint("NoSchedule"), tolerates(json!({"operator": "Exists"})), "n"),
        (taint("NoSchedule"), tolerates(json!({"key": "k", "value": "v"})), "n"),
        (taint("NoSchedule"), tolerates(json!({"key": "k", "value": "w"})), untolerated),
        (taint("NoSchedule"), tolerates(json!({"key": "k", "operator": "Exists", "effect": "NoExecute"})), untolerated),
    ];
    for (node, spec, want) in table {
        assert_eq!(with(node.clone()).judge(&plain(spec.clone())), want, "{node} {spec}");
    }
}

#[test]
fn ports_of_nodes() {
    let port =
        |fields: Value| json!({"containers": [{"name": "c", "ports": [merged(json!({"containerPort": 80}), fields)]}]});
    let conflict = "1 node(s) didn't have free ports for the requested pod ports";
    let table = [
        (json!({"hostPort": 80}), conflict),
        (json!({"hostPort": 81}), "a"),
        (json!({"hostPort": 80, "protocol": "UDP"}), "a"),
        (json!({"hostPort": 80, "hostIP": "10.0.0.1"}), conflict),
        (json!({}), "a"),
    ];
    for (wanted, want) in table {
        let mut world = World::empty();
        world.node("a", json!({}), json!({}), json!({}));
        let mut world = world.runs("other", "a", json!({}), port(json!({"hostPort": 80})));
        assert_eq!(world.judge(&plain(port(wanted.clone()))), want, "{wanted}");
    }
}

#[test]
fn room_on_nodes() {
    let container = |name: &str, cpu: &str, more: Value| {
        merged(json!({"name": name, "resources": {"requests": {"cpu": cpu}}}), more)
    };
    let table = [
        (requests(json!({"cpu": "3"})), "a"),
        (requests(json!({"cpu": "4"})), "1 Insufficient cpu"),
        (requests(json!({"memory": "9Gi"})), "1 Insufficient memory"),
        (requests(json!({"cpu": "4", "memory": "9Gi"})), "1 Insufficient cpu, 1 Insufficient memory"),
        (requests(json!({"ephemeral-storage": "1Gi"})), "1 Insufficient ephemeral-storage"),
        (requests(json!({"example.com/x": "2"})), "a"),
        (requests(json!({"example.com/x": "3"})), "1 Insufficient example.com/x"),
        (requests(json!({"hugepages-2Mi": "2Mi"})), "1 Insufficient hugepages-2Mi"),
        // What runs first counts as the most of it, sidecars count with everything after them.
        (json!({"initContainers": [container("i", "3", json!({})), container("j", "2", json!({}))]}), "a"),
        (
            json!({"initContainers": [container("s", "2", json!({"restartPolicy": "Always"})), container("i", "2", json!({}))]}),
            "1 Insufficient cpu",
        ),
        (
            json!({"initContainers": [container("i", "3", json!({})), container("s", "1", json!({"restartPolicy": "Always"}))]}),
            "a",
        ),
        // The pod's own requests stand for those of its containers.
        (merged(requests(json!({"cpu": "1"})), json!({"resources": {"requests": {"cpu": "4"}}})), "1 Insufficient cpu"),
        (merged(requests(json!({"cpu": "4"})), json!({"resources": {"requests": {"cpu": "2"}}})), "a"),
        (merged(requests(json!({"cpu": "3"})), json!({"overhead": {"cpu": "100m"}})), "1 Insufficient cpu"),
    ];
    for (spec, want) in table {
        let mut world = World::empty();
        world.node("a", json!({}), json!({}), json!({"example.com/x": "2"}));
        let mut world = world.runs("other", "a", json!({}), requests(json!({"cpu": "1"})));
        assert_eq!(world.judge(&plain(spec.clone())), want, "{spec}");
    }
    let mut full = World::empty();
    full.node("a", json!({}), json!({}), json!({"pods": "1"}));
    assert_eq!(full.runs("other", "a", json!({}), json!({})).judge(&plain(json!({}))), "1 Too many pods");
    let ignoring = World::new().args("NodeResourcesFit", json!({"ignoredResources": ["example.com/y"]}));
    assert_eq!({ ignoring }.judge(&plain(requests(json!({"example.com/y": "1"})))), "a b");
}

#[test]
fn scores_of_room_images_and_taints() {
    let world = || World::new().runs("other", "a", json!({}), requests(json!({"cpu": "2", "memory": "2Gi"})));
    let wants = plain(requests(json!({"cpu": "1", "memory": "2Gi"})));
    let pair = |a: i64, b: i64| vec![("a".to_owned(), a), ("b".to_owned(), b)];
    assert_eq!(world().scores("NodeResourcesFit", &wants), pair(37, 75), "the emptier node");
    let most = json!({"scoringStrategy": {"type": "MostAllocated", "resources": [{"name": "cpu", "weight": 1}]}});
    assert_eq!(world().args("NodeResourcesFit", most).scores("NodeResourcesFit", &wants), pair(75, 25));
    let shape = json!([{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]);
    let ratio = json!({"scoringStrategy": {"type": "RequestedToCapacityRatio", "resources": [{"name": "cpu", "weight": 1}],
        "requestedToCapacityRatio": {"shape": shape}}});
    assert_eq!(world().args("NodeResourcesFit", ratio).scores("NodeResourcesFit", &wants), pair(75, 25));
    let balance =
        |world: &mut World, amounts: Value| world.scores("NodeResourcesBalancedAllocation", &plain(requests(amounts)));
    let even = balance(&mut World::new(), json!({"cpu": "1", "memory": "2Gi"}));
    let lopsided = balance(&mut World::new(), json!({"cpu": "3", "memory": "1Gi"}));
    assert!(even[0].1 > lopsided[0].1, "{even:?} {lopsided:?}");
    let mending = balance(&mut world(), json!({"cpu": "500m", "memory": "3Gi"}));
    assert!(mending[0].1 > mending[1].1, "on a it evens out what runs there: {mending:?}");
    let mut tainted = World::new();
    let taint = json!({"taints": [{"key": "k", "effect": "PreferNoSchedule"}]});
    tainted.node("b", json!({}), taint, json!({}));
    assert_eq!(tainted.scores("TaintToleration", &plain(json!({}))), pair(300, 0));
    let preferred = json!([{"weight": 2, "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["hdd"]}]}}]);
    let preferring =
        plain(json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}}));
    assert_eq!(World::new().scores("NodeAffinity", &preferring), pair(0, 200));
}

#[test]
fn spreading() {
    let constraint = |more: Value| {
        let selector = json!({"matchLabels": {"app": "web"}});
        let base = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector});
        json!({"topologySpreadConstraints": [merged(base, more)]})
    };
    let world = || World::new().runs("w1", "a", json!({"app": "web"}), json!({}));
    let skewed = "2 node(s) didn't match pod topology spread constraints";
    let table = [
        (constraint(json!({})), "b"),
        (constraint(json!({"maxSkew": 2})), "a b"),
        (
            constraint(json!({"topologyKey": "rack"})),
            "2 node(s) didn't match pod topology spread constraints (missing required label)",
        ),
        // With three zones wanted, the emptiest counts as none.
        (constraint(json!({"minDomains": 3})), "b"),
        // A node that the pod cannot use counts only where it is told so.
        (merged(constraint(json!({})), json!({"nodeSelector": {"disk": "ssd"}})), "a"),
        (
            merged(constraint(json!({"nodeAffinityPolicy": "Ignore"})), json!({"nodeSelector": {"disk": "ssd"}})),
            "1 node(s) didn't match Pod's node affinity/selector, 1 node(s) didn't match pod topology spread constraints",
        ),
        (constraint(json!({"whenUnsatisfiable": "ScheduleAnyway"})), "a b"),
        (constraint(json!({"matchLabelKeys": ["app"]})), "b"),
    ];
    for (spec, want) in table {
        assert_eq!(world().judge(&plain(spec.clone())), want, "{spec}");
    }
    let both = world().runs("w2", "b", json!({"app": "web"}), json!({}));
    assert_eq!({ both }.judge(&plain(constraint(json!({"minDomains": 3})))), skewed);
    let tainted = |policy: &str| {
        let mut world = World::new();
        world.node("b", json!({"zone": "west"}), json!({"taints": [{"key": "k", "effect": "NoSchedule"}]}), json!({}));
        world
            .runs("w1", "a", json!({"app": "web"}), json!({}))
            .judge(&plain(constraint(json!({"nodeTaintsPolicy": policy}))))
    };
    assert_eq!(tainted("Honor"), "a", "the zone that is out of reach is no zone");
    assert!(tainted("Ignore").contains("topology spread"));
}

#[test]
fn towards_and_away_from_other_pods() {
    let term =
        |more: Value| merged(json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "db"}}}), more);
    let required = |kind: &str, term: Value| json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}});
    let world = || World::new().runs("db", "a", json!({"app": "db"}), json!({}));
    let unloved = "2 node(s) didn't match pod affinity rules";
    let table = [
        (required("podAffinity", term(json!({}))), "a"),
        (required("podAffinity", term(json!({"namespaces": ["other"]}))), unloved),
        (required("podAffinity", term(json!({"namespaceSelector": {"matchLabels": {"team": "x"}}}))), "a"),
        (required("podAffinity", term(json!({"namespaceSelector": {"matchLabels": {"team": "y"}}}))), unloved),
        (required("podAffinity", term(json!({"labelSelector": {"matchLabels": {"app": "web"}}}))), "a b"),
        (required("podAntiAffinity", term(json!({}))), "b"),
        (required("podAntiAffinity", term(json!({"topologyKey": "absent"}))), "a b"),
    ];
    for (spec, want) in table {
        assert_eq!(world().judge(&plain(spec.clone())), want, "{spec}");
    }
    let against = required("podAntiAffinity", term(json!({"labelSelector": {"matchLabels": {"app": "web"}}})));
    assert_eq!(World::new().runs("shy", "b", json!({}), against).judge(&plain(json!({}))), "a", "they keep us away");
    let preferred = json!({"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 5, "podAffinityTerm": term(json!({}))}]}}});
    let scores = world().scores("InterPodAffinity", &plain(preferred));
    assert_eq!(scores, [("a".to_owned(), 200), ("b".to_owned(), 0)]);
}

#[test]
fn disks_that_one_pod_uses() {
    let disk = |read_only: bool| json!({"volumes": [{"name": "v", "gcePersistentDisk": {"pdName": "x", "readOnly": read_only}}]});
    let world = |read_only: bool| World::new().runs("other", "a", json!({}), disk(read_only));
    assert_eq!(world(false).judge(&plain(disk(false))), "b");
    assert_eq!(world(true).judge(&plain(disk(true))), "a b", "readers share");
    assert_eq!(world(true).judge(&plain(disk(false))), "b");
    let claim = json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]});
    let exclusive = |priority: i64| {
        let spec = merged(claim.clone(), json!({"priority": priority}));
        World::new()
            .volume(json!({}), json!({}))
            .claim(json!({"volumeName": "v", "accessModes": ["ReadWriteOncePod"]}), true)
            .runs("other", "a", json!({}), spec)
    };
    let taken = "2 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
    assert_eq!(exclusive(0).judge(&uses_claim()), taken);
    let important = pod("vip", json!({}), merged(claim.clone(), json!({"priority": 5})));
    assert_eq!(exclusive(1).victims(&important), ["other"], "who matters more gets it");
}

#[test]
fn volumes_that_are_bound() {
    let affinity = |zone: &str| {
        let term = json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]});
        json!({"nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}})
    };
    let none = "2 node(s) didn't match PersistentVolume's node affinity";
    assert_eq!(World::new().volume(json!({}), affinity("east")).judge(&uses_claim()), "a");
    assert_eq!(World::new().volume(json!({}), affinity("north")).judge(&uses_claim()), none);
    assert_eq!(World::new().judge(&uses_claim()), "persistentvolumeclaim \"c\" not found");
    let unbound = World::new().claim(json!({}), false);
    assert_eq!({ unbound }.judge(&uses_claim()), "pod has unbound immediate PersistentVolumeClaims");
    let gone = World::new().claim(json!({"volumeName": "nothing"}), true);
    assert_eq!(
        { gone }.judge(&uses_claim()),
        "2 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
    );
    let mut zoned = World::empty();
    for (name, zone) in [("a", "east"), ("b", "west")] {
        zoned.node(name, json!({"topology.kubernetes.io/zone": zone}), json!({}), json!({}));
    }
    let labels = json!({"labels": {"topology.kubernetes.io/zone": "west__north"}});
    assert_eq!(zoned.volume(labels, json!({})).judge(&uses_claim()), "b");
}

#[test]
fn volumes_that_wait_for_their_first_pod() {
    let wanted = json!({"storageClassName": "s", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}}});
    let world = |class: Value| World::new().class(class).claim(wanted.clone(), false);
    assert_eq!(world(json!({})).judge(&uses_claim()), "a b");
    let made = [Write::SelectNode { claim: "d/c".to_owned(), node: "a".to_owned() }];
    assert!(world(json!({})).writes(&uses_claim()).iter().all(|write| matches!(write, Write::SelectNode { .. })));
    let east = json!({"allowedTopologies": [{"matchLabelExpressions": [{"key": "zone", "values": ["east"]}]}]});
    assert_eq!(world(east.clone()).judge(&uses_claim()), "a");
    assert_eq!(world(east).writes(&uses_claim()), made);
    let by_hand = json!({"provisioner": "kubernetes.io/no-provisioner"});
    assert_eq!(
        world(by_hand.clone()).judge(&uses_claim()),
        "2 node(s) didn't find available persistent volumes to bind"
    );

    let volume = |name: &str, size: &str| {
        let term = json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["west"]}]});
        json!({"metadata": {"name": name}, "spec": {"storageClassName": "s", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": size},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}}, "status": {"phase": "Available"}})
    };
    let mut local = world(by_hand);
    for (name, size) in [("small", "1Gi"), ("fitting", "6Gi"), ("large", "100Gi")] {
        put(&mut local.cache.snapshot.catalog.volumes, name, volume(name, size));
    }
    assert_eq!(local.judge(&uses_claim()), "b");
    let fitting = Write::BindVolume { claim: "d/c".to_owned(), volume: "fitting".to_owned() };
    assert_eq!(local.writes(&uses_claim()), [fitting], "the smallest that is large enough");

    let capacity = |size: &str| {
        let mut world = world(json!({}));
        let catalog = &mut world.cache.snapshot.catalog;
        put(&mut catalog.csi_drivers, "csi", json!({"metadata": {"name": "csi"}, "spec": {"storageCapacity": true}}));
        let topology = json!({"matchLabels": {"zone": "east"}});
        let object = json!({"metadata": {"name": "x", "namespace": "d"}, "storageClassName": "s", "nodeTopology": topology, "capacity": size});
        put(&mut catalog.capacities, "d/x", object);
        world.judge(&uses_claim())
    };
    assert_eq!(capacity("10Gi"), "a");
    assert_eq!(capacity("1Gi"), "2 node(s) did not have enough free storage");
}

#[test]
fn victims_are_few_and_unprotected() {
    let filler = |priority: i64| merged(requests(json!({"cpu": "3"})), json!({"priority": priority}));
    let vip = pod("vip", json!({}), merged(requests(json!({"cpu": "3"})), json!({"priority": 10})));
    let world =
        || World::new().runs("cheap", "a", json!({"app": "cheap"}), filler(1)).runs("dear", "b", json!({}), filler(5));
    assert_eq!(world().victims(&vip), ["cheap"]);
    let mut protected = world();
    let budget = json!({"metadata": {"name": "x", "namespace": "d"}, "spec": {"selector": {"matchLabels": {"app": "cheap"}}}, "status":
        {"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}});
    put(&mut protected.cache.snapshot.catalog.disruption_budgets, "d/x", budget);
    assert_eq!(protected.victims(&vip), ["dear"], "a budget counts for more than priorities");
    let modest = pod(
        "modest",
        json!({}),
        merged(requests(json!({"cpu": "3"})), json!({"priority": 10, "preemptionPolicy": "Never"})),
    );
    let mut world = world();
    world.cache.snapshot.settle();
    let why = schedule(&world.profile, &world.cache.snapshot, &modest, &mut 0, &mut |_| 0).map(drop).unwrap_err();
    assert!(why.message().ends_with("preemption: not eligible due to preemptionPolicy=Never."), "{}", why.message());
}
