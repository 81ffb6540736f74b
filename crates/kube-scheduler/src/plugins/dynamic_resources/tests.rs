//! Devices through whole decisions, table by table.

use std::sync::Arc;

use api_types::k8s_openapi::api::resource::v1::{AllocationResult, DeviceClass, ResourceClaim, ResourceSlice};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    cache::{Cache, PodInfo, catalog::Objects},
    config::ProfileConfig,
    framework::{Profile, Write},
    schedule::schedule,
};

fn object<T: DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).unwrap()
}

/// A cluster of the nodes a and b, with what these tests need of it.
struct Cluster(Cache);

fn put<T: DeserializeOwned>(into: &mut Objects<T>, key: &str, json: Value) {
    into.insert(key.to_owned(), Arc::new(object(json)));
}

/// Devices with these names, attributes and more.
fn devices(names: &[&str], more: Value) -> Value {
    let device = |name: &&str| {
        let mut device = json!({"name": name});
        device.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        device
    };
    names.iter().map(device).collect()
}

impl Cluster {
    fn new() -> Self {
        let mut cluster = Cluster(Cache::default());
        for (name, zone) in [("a", "east"), ("b", "west")] {
            let node = json!({"metadata": {"name": name, "labels": {"zone": zone}},
                "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}}});
            cluster.0.set_node(Arc::new(object(node)));
        }
        cluster.0.snapshot.settle();
        cluster.class("gpu", json!({}))
    }

    fn class(mut self, name: &str, spec: Value) -> Self {
        let class = json!({"metadata": {"name": name}, "spec": spec});
        put::<DeviceClass>(&mut self.0.snapshot.catalog.device_classes, name, class);
        self
    }

    /// A slice of driver `d`: a pool of its own unless `spec` says otherwise.
    fn slice(mut self, name: &str, spec: Value) -> Self {
        let pool = json!({"name": name, "generation": 1, "resourceSliceCount": 1});
        let mut whole = json!({"driver": "d", "pool": pool});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let slice = json!({"metadata": {"name": name}, "spec": whole});
        put::<ResourceSlice>(&mut self.0.snapshot.catalog.resource_slices, name, slice);
        self
    }

    /// Node a has these plain devices.
    fn on_a(self, names: &[&str]) -> Self {
        self.slice("pool-a", json!({"nodeName": "a", "devices": devices(names, json!({}))}))
    }

    fn claim(mut self, name: &str, devices: Value, status: Value) -> Self {
        let claim = json!({"metadata": {"name": name, "namespace": "n", "uid": name},
            "spec": {"devices": devices}, "status": status});
        put::<ResourceClaim>(&mut self.0.snapshot.catalog.resource_claims, &format!("n/{name}"), claim);
        self
    }

    /// A claim `c` for these requests.
    fn wants(self, requests: Value) -> Self {
        self.claim("c", json!({"requests": requests}), json!({}))
    }

    /// A claim that has the device already.
    fn held(self, name: &str, pool: &str, device: &str) -> Self {
        let result = json!({"driver": "d", "pool": pool, "device": device, "request": "r"});
        let status = json!({"allocation": {"devices": {"results": [result]}}});
        self.claim(name, json!({"requests": [one("r")]}), status)
    }

    /// Where a pod with these claims goes, and what is allocated for it.
    fn place(&self, claims: &[&str]) -> Result<(String, Vec<AllocationResult>), String> {
        let claims: Vec<_> = claims.iter().map(|c| json!({"name": c, "resourceClaimName": c})).collect();
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "p"},
            "spec": {"resourceClaims": claims, "containers": [{"name": "x"}]}});
        let pod = PodInfo::new(Arc::new(object(pod)));
        let profile = Profile::new(&ProfileConfig::default(), 0).unwrap();
        let decision = schedule(&profile, &self.0.snapshot, &pod, &mut 0, &mut |_| 0);
        let decision = decision.map_err(|why| why.message())?;
        let allocations = decision.writes.into_iter().filter_map(|planned| match planned.write {
            Write::UseClaim { allocation, .. } => allocation.map(|a| *a),
            _ => None,
        });
        Ok((decision.node.name().to_owned(), allocations.collect()))
    }

    /// The node and the devices by request, or why there are none.
    fn devices(&self) -> Result<String, String> {
        let (node, allocations) = self.place(&["c"])?;
        Ok(format!("{node}: {}", allocations.iter().map(shown).collect::<Vec<_>>().join("; ")))
    }

    /// Why the pod fits nowhere, without what may help.
    fn trouble(&self) -> String {
        let message = self.devices().unwrap_err();
        let message = message.strip_prefix("0/2 nodes are available: ").unwrap_or(&message).to_owned();
        message.split(". ").next().unwrap_or_default().trim_end_matches('.').to_owned()
    }
}

fn shown(allocation: &AllocationResult) -> String {
    let results = allocation.devices.iter().flat_map(|d| d.results.iter().flatten());
    results.map(|r| format!("{}={}", r.request, r.device)).collect::<Vec<_>>().join(" ")
}

fn request(name: &str, exactly: Value) -> Value {
    let mut whole = json!({"deviceClassName": "gpu"});
    whole.as_object_mut().unwrap().extend(exactly.as_object().unwrap().clone());
    json!({"name": name, "exactly": whole})
}

fn one(name: &str) -> Value {
    request(name, json!({}))
}

fn selector(expression: &str) -> Value {
    json!([{"cel": {"expression": expression}}])
}

#[test]
fn devices_are_found_where_they_are() {
    let cluster = Cluster::new().on_a(&["x", "y"]).wants(json!([one("r")]));
    assert_eq!(cluster.devices().unwrap(), "a: r=x");
    let (_, allocations) = cluster.place(&["c"]).unwrap();
    let term = &allocations[0].node_selector.as_ref().unwrap().node_selector_terms[0];
    let field = &term.match_fields.as_ref().unwrap()[0];
    assert_eq!((field.key.as_str(), field.values.as_deref()), ("metadata.name", Some(&["a".to_owned()][..])));
    let east =
        json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["west"]}]}]});
    let shared = Cluster::new().slice("s", json!({"nodeSelector": east, "devices": devices(&["x"], json!({}))}));
    assert_eq!(shared.wants(json!([one("r")])).devices().unwrap(), "b: r=x");
    let own = json!([{"name": "x", "nodeName": "b"}, {"name": "y", "allNodes": true}]);
    let mixed = Cluster::new().slice("s", json!({"perDeviceNodeSelection": true, "devices": own}));
    let mixed = mixed.wants(json!([request("r", json!({"count": 2}))]));
    assert_eq!(mixed.devices().unwrap(), "b: r=x r=y");
    let everywhere = Cluster::new().slice("s", json!({"allNodes": true, "devices": devices(&["x"], json!({}))}));
    let (_, allocations) = everywhere.wants(json!([one("r")])).place(&["c"]).unwrap();
    assert_eq!(allocations[0].node_selector, None);
}

#[test]
fn what_is_taken_is_not_given_again() {
    let cluster = Cluster::new().on_a(&["x", "y"]).held("other", "pool-a", "x").wants(json!([one("r")]));
    assert_eq!(cluster.devices().unwrap(), "a: r=y");
    let full = cluster.held("more", "pool-a", "y");
    assert_eq!(full.trouble(), "2 cannot allocate all claims");
    let mut pending = Cluster::new().on_a(&["x"]).wants(json!([one("r")]));
    let allocated = pending.0.snapshot.catalog.resource_claims["n/c"].clone();
    pending.0.snapshot.catalog.allocating.insert("n/c".to_owned(), allocated);
    assert_eq!(pending.trouble(), "resource claim n/c is in the process of being allocated");
    let mut elsewhere = Cluster::new().on_a(&["x"]).held("theirs", "pool-a", "x").wants(json!([one("r")]));
    let theirs = elsewhere.0.snapshot.catalog.resource_claims.remove("n/theirs").unwrap();
    elsewhere.0.snapshot.catalog.allocating.insert("n/theirs".to_owned(), theirs);
    assert_eq!(elsewhere.trouble(), "2 cannot allocate all claims", "one on its way counts too");
}

#[test]
fn claims_that_have_their_devices_tie_the_pod() {
    let at = |node: &str| {
        let field = json!({"key": "metadata.name", "operator": "In", "values": [node]});
        json!({"allocation": {"nodeSelector": {"nodeSelectorTerms": [{"matchFields": [field]}]}}})
    };
    let tied = Cluster::new().claim("c", json!({"requests": [one("r")]}), at("b"));
    assert_eq!(tied.place(&["c"]).unwrap(), ("b".to_owned(), Vec::new()));
    let gone = Cluster::new().claim("c", json!({"requests": [one("r")]}), at("gone"));
    assert_eq!(gone.trouble(), "2 resourceclaim not available on the node");
    let message = gone.devices().unwrap_err();
    assert!(message.contains("deallocation of ResourceClaim completed"), "{message}");
    let mut used = at("gone");
    used["reservedFor"] = json!([{"resource": "pods", "name": "q", "uid": "q"}]);
    let used = Cluster::new().claim("c", json!({"requests": [one("r")]}), used);
    let message = used.devices().unwrap_err();
    assert!(message.contains("still not schedulable"), "somebody uses it: {message}");
    let users: Vec<_> = (0..256).map(|n| json!({"resource": "pods", "name": "q", "uid": n.to_string()})).collect();
    let mut full = at("a");
    full["reservedFor"] = json!(users);
    assert_eq!(Cluster::new().claim("c", json!({}), full).trouble(), "resourceclaim in use");
}

#[test]
fn selectors_choose() {
    let attributes = |model: &str, memory: &str| {
        json!({"attributes": {"model": {"string": model}, "example.com/cores": {"int": 8}, "version": {"version": "1.2.0"}},
            "capacity": {"memory": {"value": memory}}})
    };
    let cluster = || {
        Cluster::new()
            .slice("a", json!({"nodeName": "a", "devices": devices(&["x"], attributes("old", "10Gi"))}))
            .slice("b", json!({"nodeName": "b", "devices": devices(&["y"], attributes("new", "40Gi"))}))
    };
    let table = [
        ("device.attributes['d'].model == 'new'", Ok("b: r=y")),
        ("device.capacity['d'].memory.compareTo(quantity('20Gi')) < 0", Ok("a: r=x")),
        ("device.driver == 'd' && device.attributes['example.com'].cores == 8", Ok("a: r=x")),
        ("device.attributes['d'].version.isGreaterThan(semver('1.0.0'))", Ok("a: r=x")),
        ("has(device.attributes['nobody'].model)", Err("2 cannot allocate all claims")),
        ("'d' in device.attributes && !('nobody' in device.attributes)", Ok("a: r=x")),
        (
            "device.attributes['d'].colour == 'red'",
            Err(
                "running \"DynamicResources\" filter plugin: claim n/c: selector #0 on device d/a/x: CEL runtime error: no such key: colour",
            ),
        ),
    ];
    for (expression, want) in table {
        let got = cluster().wants(json!([request("r", json!({"selectors": selector(expression)}))]));
        match want {
            Ok(want) => assert_eq!(got.devices().as_deref(), Ok(want), "{expression}"),
            Err(want) => assert_eq!(got.trouble(), want, "{expression}"),
        }
    }
    let of_class = cluster().class("gpu", json!({"selectors": selector("device.attributes['d'].model == 'new'")}));
    assert_eq!(of_class.wants(json!([one("r")])).devices().unwrap(), "b: r=y");
    let broken = cluster().class("gpu", json!({"selectors": selector("device.colour")}));
    let message = broken.wants(json!([one("r")])).trouble();
    assert!(message.contains("class gpu: selector #0: CEL compile error: compilation failed: ERROR: "), "{message}");
    assert_eq!(
        cluster().wants(json!([request("r", json!({"deviceClassName": "tpu"}))])).trouble(),
        "request r: device class tpu does not exist"
    );
}

#[test]
fn every_device_or_none() {
    let all = json!([request("r", json!({"allocationMode": "All"}))]);
    assert_eq!(Cluster::new().on_a(&["x", "y"]).wants(all.clone()).devices().unwrap(), "a: r=x r=y");
    let taken = Cluster::new().on_a(&["x", "y"]).held("other", "pool-a", "y").wants(all.clone());
    assert_eq!(taken.trouble(), "2 cannot allocate all claims");
    let pool = json!({"name": "pool-a", "generation": 1, "resourceSliceCount": 2});
    let partial = json!({"nodeName": "a", "pool": pool, "devices": devices(&["x"], json!({}))});
    let partial = Cluster::new().slice("s", partial).wants(all);
    assert_eq!(
        partial.trouble(),
        "1 cannot allocate all claims, 1 claim n/c, request r: asks for all devices, but resource pool d/pool-a is currently being updated"
    );
    let many: Vec<String> = (0..33).map(|n| format!("x{n:02}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let too_many = Cluster::new().on_a(&many).wants(json!([request("r", json!({"count": 33}))]));
    let want = "running \"DynamicResources\" filter plugin: claim n/c: number of requested devices 33 exceeds the claim limit of 32";
    assert_eq!(too_many.trouble(), want);
}

#[test]
fn pools_are_whole_new_and_consistent() {
    let pool =
        |generation: i64, count: i64| json!({"name": "p", "generation": generation, "resourceSliceCount": count});
    let slice =
        |pool: Value, names: &[&str]| json!({"nodeName": "a", "pool": pool, "devices": devices(names, json!({}))});
    let wants = |cluster: Cluster| cluster.wants(json!([one("r")]));
    let renewed = Cluster::new().slice("s1", slice(pool(1, 1), &["old"])).slice("s2", slice(pool(2, 1), &["new"]));
    assert_eq!(wants(renewed).devices().unwrap(), "a: r=new");
    let incomplete = Cluster::new().slice("s1", slice(pool(1, 2), &["x"]));
    assert_eq!(wants(incomplete).trouble(), "2 cannot allocate all claims");
    let twice = Cluster::new().slice("s1", slice(pool(1, 2), &["x"])).slice("s2", slice(pool(1, 2), &["x"]));
    assert_eq!(wants(twice).trouble(), "1 cannot allocate all claims, 1 invalid resource pools were encountered");
}

#[test]
fn the_best_alternative_that_is_to_be_had() {
    let sub = |name: &str, count: i64| json!({"name": name, "deviceClassName": "gpu", "count": count});
    let choice = json!([{"name": "r", "firstAvailable": [sub("big", 3), sub("small", 1)]}]);
    assert_eq!(Cluster::new().on_a(&["x", "y"]).wants(choice.clone()).devices().unwrap(), "a: r/small=x");
    let two = |cluster: Cluster| {
        cluster.slice("pool-b", json!({"nodeName": "b", "devices": devices(&["u", "v", "w"], json!({}))}))
    };
    let cluster = two(Cluster::new().on_a(&["x", "y"])).wants(choice);
    assert_eq!(cluster.devices().unwrap(), "b: r/big=u r/big=v r/big=w", "nodes with the better one score higher");
    let with_more = json!([{"name": "r", "firstAvailable": [sub("big", 2), sub("small", 1)]}, one("s")]);
    assert_eq!(
        Cluster::new().on_a(&["x", "y"]).wants(with_more).devices().unwrap(),
        "a: r/small=x s=y",
        "a choice is taken back for what comes after it"
    );
}

#[test]
fn constraints_hold_over_requests() {
    let on = |name: &str, numa: i64| json!({"name": name, "attributes": {"numa": {"int": numa}, "d/serial": {"string": name}}});
    let cluster = || {
        let devices = json!([on("x", 0), on("y", 1), on("z", 1)]);
        Cluster::new().slice("pool-a", json!({"nodeName": "a", "devices": devices}))
    };
    let with = |constraint: Value| {
        let spec = json!({"requests": [one("r"), one("s")], "constraints": [constraint]});
        cluster().claim("c", spec, json!({}))
    };
    assert_eq!(with(json!({"matchAttribute": "d/numa"})).devices().unwrap(), "a: r=y s=z");
    assert_eq!(with(json!({"distinctAttribute": "d/numa"})).devices().unwrap(), "a: r=x s=y");
    assert_eq!(with(json!({"matchAttribute": "d/serial"})).trouble(), "2 cannot allocate all claims");
    assert_eq!(with(json!({"matchAttribute": "d/serial", "requests": ["r"]})).devices().unwrap(), "a: r=x s=y");
    assert_eq!(with(json!({"matchAttribute": "other/numa"})).trouble(), "2 cannot allocate all claims");
}

#[test]
fn taints_are_tolerated_or_keep_away() {
    let taint = |effect: &str| json!({"taints": [{"key": "sick", "value": "yes", "effect": effect}]});
    let cluster = |effect: &str, tolerations: Value| {
        let slice = json!({"nodeName": "a", "devices": devices(&["x"], taint(effect))});
        let wants = json!([request("r", json!({"tolerations": tolerations}))]);
        Cluster::new().slice("pool-a", slice).wants(wants).devices()
    };
    let table = [
        ("NoSchedule", json!([]), false),
        ("NoExecute", json!([]), false),
        ("None", json!([]), true),
        ("NoSchedule", json!([{"operator": "Exists"}]), true),
        ("NoSchedule", json!([{"key": "sick", "operator": "Equal", "value": "yes"}]), true),
        ("NoSchedule", json!([{"key": "sick", "value": "no"}]), false),
        ("NoSchedule", json!([{"key": "sick", "operator": "Exists", "effect": "NoExecute"}]), false),
    ];
    for (effect, tolerations, fits) in table {
        assert_eq!(cluster(effect, tolerations.clone()).is_ok(), fits, "{effect} {tolerations}");
    }
}

#[test]
fn administrators_see_devices_that_others_have() {
    let cluster = Cluster::new().on_a(&["x"]).held("other", "pool-a", "x");
    let admin = cluster.wants(json!([request("r", json!({"adminAccess": true}))]));
    let (node, allocations) = admin.place(&["c"]).unwrap();
    assert_eq!((node.as_str(), shown(&allocations[0]).as_str()), ("a", "r=x"));
    let result = &allocations[0].devices.as_ref().unwrap().results.as_ref().unwrap()[0];
    assert_eq!(result.admin_access, Some(true));
    let twice = Cluster::new().on_a(&["x"]);
    let twice =
        twice.wants(json!([request("r", json!({"adminAccess": true})), request("s", json!({"adminAccess": true}))]));
    assert_eq!(twice.trouble(), "2 cannot allocate all claims", "but not twice for one claim");
}

#[test]
fn partitions_share_counters() {
    let part = |name: &str, memory: &str| json!({"name": name, "consumesCounters": [{"counterSet": "card", "counters": {"memory": {"value": memory}}}]});
    let cluster = || {
        let pool = json!({"name": "p", "generation": 1, "resourceSliceCount": 2});
        let counters = json!([{"name": "card", "counters": {"memory": {"value": "40Gi"}}}]);
        let parts = json!([part("whole", "40Gi"), part("half1", "20Gi"), part("half2", "20Gi")]);
        Cluster::new()
            .slice("s1", json!({"nodeName": "a", "pool": pool, "sharedCounters": counters}))
            .slice("s2", json!({"nodeName": "a", "pool": pool, "devices": parts}))
    };
    assert_eq!(cluster().wants(json!([one("r")])).devices().unwrap(), "a: r=whole");
    let two = json!([request("r", json!({"count": 2}))]);
    assert_eq!(cluster().wants(two.clone()).devices().unwrap(), "a: r=half1 r=half2");
    assert_eq!(cluster().held("o", "p", "half1").wants(json!([one("r")])).devices().unwrap(), "a: r=half2");
    assert_eq!(cluster().held("o", "p", "half1").wants(two).trouble(), "2 cannot allocate all claims");
}

#[test]
fn capacity_is_shared_out() {
    let policy = json!({"default": "10Gi", "validRange": {"min": "5Gi", "step": "5Gi", "max": "30Gi"}});
    let shared =
        json!({"allowMultipleAllocations": true, "capacity": {"memory": {"value": "40Gi", "requestPolicy": policy}}});
    let cluster = |held: &str| {
        let slice = json!({"nodeName": "a", "devices": devices(&["x"], shared.clone())});
        let result = json!({"driver": "d", "pool": "pool-a", "device": "x", "request": "r", "shareID": "s", "consumedCapacity": {"memory": held}});
        let status = json!({"allocation": {"devices": {"results": [result]}}});
        Cluster::new().slice("pool-a", slice).claim("other", json!({}), status)
    };
    let consumed = |held: &str, requests: Value| {
        let capacity = if requests.is_null() { json!({}) } else { json!({"capacity": {"requests": requests}}) };
        let (_, allocations) = cluster(held).wants(json!([request("r", capacity)])).place(&["c"])?;
        let result = allocations[0].devices.as_ref().unwrap().results.as_ref().unwrap()[0].clone();
        assert!(result.share_id.is_some());
        Ok::<String, String>(result.consumed_capacity.unwrap()["memory"].0.clone())
    };
    assert_eq!(consumed("20Gi", Value::Null).unwrap(), "10Gi", "the default");
    assert_eq!(consumed("20Gi", json!({"memory": "12Gi"})).unwrap(), "15Gi", "rounded up to the next step");
    assert_eq!(consumed("20Gi", json!({"d/memory": "1Gi"})).unwrap(), "5Gi", "not less than the least");
    assert!(consumed("35Gi", Value::Null).is_err(), "not that much is left");
    assert!(consumed("0", json!({"memory": "31Gi"})).is_err(), "more than one may have");
    assert!(consumed("0", json!({"cores": "1"})).is_err(), "the device has no such thing");
    let twice = cluster("20Gi").wants(json!([one("r"), one("s")]));
    assert_eq!(twice.devices().unwrap(), "a: r=x s=x");
    let thrice = cluster("20Gi").wants(json!([one("r"), one("s"), one("t")]));
    assert_eq!(thrice.trouble(), "2 cannot allocate all claims");
}

#[test]
fn configuration_comes_from_classes_and_the_claim() {
    let opaque = |value: i64| json!({"opaque": {"driver": "d", "parameters": {"v": value}}});
    let named = |value: i64, requests: Value| {
        let mut config = opaque(value);
        config["requests"] = requests;
        config
    };
    let spec = json!({"requests": [one("r"), one("s")], "config": [opaque(2), named(3, json!(["s"])), named(4, json!(["z"]))]});
    let cluster =
        Cluster::new().class("gpu", json!({"config": [opaque(1)]})).on_a(&["x", "y"]).claim("c", spec, json!({}));
    let (_, allocations) = cluster.place(&["c"]).unwrap();
    let config = allocations[0].devices.as_ref().unwrap().config.as_ref().unwrap();
    let shown: Vec<_> = config
        .iter()
        .map(|c| {
            let value = c.opaque.as_ref().map(|o| o.parameters.0["v"].clone());
            (c.source.as_str(), value.unwrap(), c.requests.clone().unwrap_or_default().join(","))
        })
        .collect();
    let want = [
        ("FromClass", json!(1), String::new()),
        ("FromClaim", json!(2), String::new()),
        ("FromClaim", json!(3), "s".to_owned()),
    ];
    assert_eq!(shown, want);
}

#[test]
fn two_claims_do_not_get_the_same_device() {
    let cluster = Cluster::new().on_a(&["x", "y"]);
    let cluster = cluster.claim("c", json!({"requests": [one("r")]}), json!({}));
    let cluster = cluster.claim("e", json!({"requests": [one("r")]}), json!({}));
    let (_, allocations) = cluster.place(&["c", "e"]).unwrap();
    assert_eq!(allocations.iter().map(shown).collect::<Vec<_>>(), ["r=x", "r=y"]);
    let failed = Cluster::new().wants(json!([{"name": "r"}])).place(&["c"]).unwrap_err();
    assert_eq!(failed, "running PreFilter plugin \"DynamicResources\": request r: unsupported request type");
}

#[test]
fn extended_resources_come_from_devices_where_the_node_has_none() {
    let name = "example.com/gpu";
    let container = |name: &str, count: i64, more: Value| {
        let amounts = json!({"example.com/gpu": count.to_string()});
        let mut container = json!({"name": name, "resources": {"requests": amounts.clone(), "limits": amounts}});
        container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        container
    };
    let pod = |init: Value| {
        let spec = json!({"initContainers": init, "containers": [container("main", 1, json!({}))]});
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "p"}, "spec": spec});
        PodInfo::new(Arc::new(object(pod)))
    };
    let place = |cluster: &Cluster, init: Value| {
        let (pod, profile) = (pod(init), Profile::new(&ProfileConfig::default(), 0).unwrap());
        let decision = schedule(&profile, &cluster.0.snapshot, &pod, &mut 0, &mut |_| 0);
        decision.map(|d| (d.node.name().to_owned(), d.writes)).map_err(|why| why.message())
    };
    let cluster = Cluster::new().on_a(&["x", "y"]);
    let message = place(&cluster, json!([])).unwrap_err();
    assert!(message.starts_with("0/2 nodes are available: 2 Insufficient example.com/gpu."), "{message}");

    let cluster = cluster.class("gpu", json!({"extendedResourceName": name}));
    let (node, writes) = place(&cluster, json!([container("first", 2, json!({}))])).unwrap();
    let [planned] = writes.as_slice() else { panic!("{writes:?}") };
    let Write::MakeClaim { claim, allocation, mappings } = &planned.write else { panic!("{planned:?}") };
    assert_eq!((node.as_str(), shown(allocation).as_str()), ("a", "container-0-request-0=x container-1-request-0=y"));
    let shown: Vec<_> = mappings.iter().map(|m| format!("{} {}", m.container_name, m.request_name)).collect();
    let want = ["main container-1-request-0", "first container-1-request-0", "first container-0-request-0"];
    assert_eq!(shown, want, "what runs first uses what comes after it");
    assert_eq!(claim.metadata.generate_name.as_deref(), Some("p-extended-resources-"));
    assert_eq!(claim.metadata.owner_references.as_ref().unwrap()[0].uid, "p");

    let sidecar = json!([container("side", 1, json!({"restartPolicy": "Always"})), container("init", 1, json!({}))]);
    let (_, writes) = place(&cluster, sidecar).unwrap();
    let Write::MakeClaim { mappings, .. } = &writes[0].write else { panic!("{writes:?}") };
    assert_eq!(mappings.len(), 3);
    let too_many = json!([container("first", 3, json!({}))]);
    let message = place(&cluster, too_many).unwrap_err();
    assert!(message.starts_with("0/2 nodes are available: 2 cannot allocate all claims."), "{message}");

    let implicit = Cluster::new().on_a(&["x"]);
    let amounts = json!({"deviceclass.resource.kubernetes.io/gpu": "1"});
    let spec = json!({"containers": [{"name": "c", "resources": {"requests": amounts.clone(), "limits": amounts}}]});
    let pod: PodInfo =
        PodInfo::new(Arc::new(object(json!({"metadata": {"name": "q", "namespace": "n", "uid": "q"}, "spec": spec}))));
    let profile = Profile::new(&ProfileConfig::default(), 0).unwrap();
    let decision = schedule(&profile, &implicit.0.snapshot, &pod, &mut 0, &mut |_| 0).map_err(|why| why.message());
    assert_eq!(decision.unwrap().node.name(), "a");
}

#[test]
fn nodes_that_offer_the_resource_need_no_devices_and_leftovers_go() {
    let mut cluster = Cluster::new().on_a(&["x"]).class("gpu", json!({"extendedResourceName": "example.com/gpu"}));
    let node = json!({"metadata": {"name": "b"}, "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10", "example.com/gpu": "4"}}});
    cluster.0.set_node(Arc::new(object(node)));
    cluster.0.remove_node("a");
    cluster.0.snapshot.settle();
    let amounts = json!({"example.com/gpu": "1"});
    let spec = json!({"containers": [{"name": "c", "resources": {"requests": amounts.clone(), "limits": amounts}}]});
    let pod: PodInfo =
        PodInfo::new(Arc::new(object(json!({"metadata": {"name": "p", "namespace": "n", "uid": "p"}, "spec": spec}))));
    let profile = Profile::new(&ProfileConfig::default(), 0).unwrap();
    {
        let decision = schedule(&profile, &cluster.0.snapshot, &pod, &mut 0, &mut |_| 0).map_err(|why| why.message());
        let decision = decision.unwrap();
        assert_eq!((decision.node.name(), decision.writes.len()), ("b", 0));
    }
    let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p", "controller": true}]);
    let left_over = json!({"metadata": {"name": "p-extended-resources-1", "namespace": "n", "ownerReferences": owner,
        "annotations": {"resource.kubernetes.io/extended-resource-claim": "true"}}, "spec": {}});
    put::<ResourceClaim>(&mut cluster.0.snapshot.catalog.resource_claims, "n/p-extended-resources-1", left_over);
    let message = schedule(&profile, &cluster.0.snapshot, &pod, &mut 0, &mut |_| 0).map(|_| ()).unwrap_err().message();
    assert!(
        message.contains("1 cannot schedule extended resource claim. deletion of ResourceClaim completed"),
        "{message}"
    );
}
