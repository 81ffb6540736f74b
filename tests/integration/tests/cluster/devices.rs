//! Devices: from slices and claims to bound pods, through the API server with the scheduler's own identity.

use api_types::k8s_openapi::api::{
    core::v1::Pod,
    resource::v1::{DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice},
};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use testkit::eventually;

use crate::{MINUTE, in_default, on_cluster};

async fn create<K: Clone + std::fmt::Debug + Serialize + DeserializeOwned>(api: &Api<K>, object: Value) {
    let object: K = serde_json::from_value(object).unwrap();
    // The first pods wait for the namespace's service account.
    let create = || async { api.create(&PostParams::default(), &object).await.map_err(|error| error.to_string()) };
    eventually(MINUTE, "the object to be accepted", create).await;
}

/// Two devices on `node-1`, and the class of all devices.
async fn publish_devices(admin: &Client) {
    create(
        &Api::<DeviceClass>::all(admin.clone()),
        json!({"metadata": {"name": "gpu"}, "spec": {"selectors": [
        {"cel": {"expression": "device.driver == 'gpu.example.com'"}}]}}),
    )
    .await;
    let devices = json!([
        {"name": "gpu-0", "attributes": {"model": {"string": "small"}}, "capacity": {"memory": {"value": "16Gi"}}},
        {"name": "gpu-1", "attributes": {"model": {"string": "large"}}, "capacity": {"memory": {"value": "80Gi"}}},
    ]);
    let slice = json!({"metadata": {"name": "node-1-gpus"}, "spec": {"driver": "gpu.example.com", "nodeName": "node-1",
        "pool": {"name": "node-1", "generation": 1, "resourceSliceCount": 1}, "devices": devices}});
    create(&Api::<ResourceSlice>::all(admin.clone()), slice).await;
}

fn claim(name: &str, expression: &str) -> Value {
    let exactly = json!({"deviceClassName": "gpu", "selectors": [{"cel": {"expression": expression}}]});
    json!({"metadata": {"name": name}, "spec": {"devices": {"requests": [{"name": "r", "exactly": exactly}]}}})
}

fn pod(name: &str, claim: Value) -> Value {
    let container =
        json!({"name": "main", "image": "registry.example/app", "resources": {"claims": [{"name": "gpu"}]}});
    let mut reference = json!({"name": "gpu"});
    reference.as_object_mut().unwrap().extend(claim.as_object().unwrap().clone());
    json!({"metadata": {"name": name}, "spec": {"resourceClaims": [reference], "containers": [container]}})
}

fn unscheduled(pod: &Pod) -> Option<String> {
    let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    conditions.filter(|c| c.type_ == "PodScheduled" && c.status == "False").find_map(|c| c.message.clone())
}

async fn node_of(pods: &Api<Pod>, name: &str) -> Result<String, String> {
    let pod = pods.get(name).await.map_err(|error| error.to_string())?;
    pod.spec.and_then(|s| s.node_name).ok_or_else(|| format!("not bound: {:?}", pod.status))
}

#[test]
fn a_pod_runs_where_its_claim_finds_a_device() {
    on_cluster(1, 2, async |cluster| {
        let admin = cluster.admin();
        let pods = in_default::<Pod>(&admin);
        let claims = in_default::<ResourceClaim>(&admin);
        publish_devices(&admin).await;

        // The pod comes first and waits for its claim.
        create(&pods, pod("one", json!({"resourceClaimName": "big"}))).await;
        create(&claims, claim("big", "device.attributes['gpu.example.com'].model == 'large'")).await;
        let bound = || async { node_of(&pods, "one").await };
        assert_eq!(eventually(MINUTE, "the pod to be bound", bound).await, "node-1");
        let big = claims.get("big").await.unwrap();
        let finalizers = big.metadata.finalizers.unwrap_or_default();
        assert_eq!(finalizers, ["resource.kubernetes.io/delete-protection"]);
        let status = big.status.unwrap();
        let users: Vec<_> = status.reserved_for.unwrap().into_iter().map(|user| (user.resource, user.name)).collect();
        assert_eq!(users, [("pods".to_owned(), "one".to_owned())]);
        let results = status.allocation.unwrap().devices.unwrap().results.unwrap();
        assert_eq!(results[0].device, "gpu-1");

        // Nobody gets a device twice; a second pod may share the claim.
        create(&claims, claim("bigger", "device.capacity['gpu.example.com'].memory.compareTo(quantity('40Gi')) > 0"))
            .await;
        create(&pods, pod("two", json!({"resourceClaimName": "bigger"}))).await;
        create(&pods, pod("three", json!({"resourceClaimName": "big"}))).await;
        let told = || async { unscheduled(&pods.get("two").await.unwrap()).ok_or("not told".into()) };
        let message = eventually(MINUTE, "the pod to be refused", told).await;
        assert!(message.starts_with("0/2 nodes are available: 2 cannot allocate all claims."), "{message}");
        let shared = || async {
            let users = claims.get("big").await.unwrap().status.and_then(|s| s.reserved_for).unwrap_or_default();
            if users.len() == 2 { Ok(()) } else { Err(format!("{users:?}")) }
        };
        eventually(MINUTE, "two pods to share the claim", shared).await;

        // When its users are gone the claim gives the device up, to who waits for it.
        for name in ["one", "three"] {
            pods.delete(name, &DeleteParams::default()).await.unwrap();
        }
        let bound = || async { node_of(&pods, "two").await };
        assert_eq!(eventually(MINUTE, "the freed device to be given", bound).await, "node-1");
        let big = claims.get("big").await.unwrap();
        assert!(big.status.is_none_or(|status| status.allocation.is_none() && status.reserved_for.is_none()));
    });
}

#[test]
fn claims_from_templates_live_with_their_pod() {
    on_cluster(2, 2, async |cluster| {
        let admin = cluster.admin();
        let pods = in_default::<Pod>(&admin);
        let claims = in_default::<ResourceClaim>(&admin);
        publish_devices(&admin).await;
        create(&pods, pod("early", json!({"resourceClaimTemplateName": "any"}))).await;
        let template = json!({"metadata": {"name": "any"}, "spec": {"metadata": {"labels": {"from": "template"}},
            "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}}}});
        create(&in_default::<ResourceClaimTemplate>(&admin), template).await;
        let bound = || async { node_of(&pods, "early").await };
        assert_eq!(eventually(MINUTE, "the pod to be bound", bound).await, "node-1");
        let status = pods.get("early").await.unwrap().status.unwrap();
        let named = status.resource_claim_statuses.unwrap()[0].resource_claim_name.clone().unwrap();
        let claim = claims.get(&named).await.unwrap();
        assert!(named.starts_with("early-gpu-"), "{named}");
        assert_eq!(claim.metadata.labels.unwrap()["from"], "template");
        assert_eq!(claim.status.unwrap().reserved_for.unwrap()[0].name, "early");

        pods.delete("early", &DeleteParams::default()).await.unwrap();
        let gone = || async {
            let left = claims.get_opt(&named).await.map_err(|error| error.to_string())?;
            left.map_or(Ok(()), |claim| Err(format!("{claim:?}")))
        };
        eventually(MINUTE, "the claim to vanish", gone).await;
    });
}

#[test]
fn extended_resources_are_served_by_devices() {
    on_cluster(3, 2, async |cluster| {
        let admin = cluster.admin();
        let pods = in_default::<Pod>(&admin);
        let claims = in_default::<ResourceClaim>(&admin);
        publish_devices(&admin).await;
        let class = json!({"metadata": {"name": "card"}, "spec": {"extendedResourceName": "example.com/card"}});
        create(&Api::<DeviceClass>::all(admin.clone()), class).await;
        let amounts = json!({"example.com/card": "1"});
        let container = json!({"name": "main", "image": "registry.example/app", "resources": {"requests": amounts, "limits": amounts}});
        create(&pods, json!({"metadata": {"name": "plain"}, "spec": {"containers": [container]}})).await;
        let bound = || async { node_of(&pods, "plain").await };
        assert_eq!(eventually(MINUTE, "the pod to be bound", bound).await, "node-1");
        let status = pods.get("plain").await.unwrap().status.unwrap().extended_resource_claim_status.unwrap();
        assert_eq!(status.request_mappings[0].request_name, "container-0-request-0");
        let claim = claims.get(&status.resource_claim_name).await.unwrap();
        assert_eq!(claim.status.unwrap().reserved_for.unwrap()[0].name, "plain");
        pods.delete("plain", &DeleteParams::default()).await.unwrap();
        let gone = || async {
            let left = claims.get_opt(&status.resource_claim_name).await.map_err(|error| error.to_string())?;
            left.map_or(Ok(()), |claim| Err(format!("{claim:?}")))
        };
        eventually(MINUTE, "the claim to vanish", gone).await;
    });
}

#[test]
fn pods_leave_devices_with_taints_that_nobody_tolerates() {
    on_cluster(77, 2, async |cluster| {
        let admin = cluster.admin();
        let (pods, claims) = (in_default::<Pod>(&admin), in_default::<ResourceClaim>(&admin));
        publish_devices(&admin).await;
        // One pod tolerates nothing, the other half a minute.
        for (name, model, tolerations) in [
            ("frail", "small", json!([])),
            ("tough", "large", json!([{"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}])),
        ] {
            let mut claim = claim(name, &format!("device.attributes['gpu.example.com'].model == '{model}'"));
            claim["spec"]["devices"]["requests"][0]["exactly"]["tolerations"] = tolerations;
            create(&claims, claim).await;
            create(&pods, pod(name, json!({"resourceClaimName": name}))).await;
            let bound = || async { node_of(&pods, name).await };
            assert_eq!(eventually(MINUTE, "the pod to be bound", bound).await, "node-1");
        }
        let slices: Api<ResourceSlice> = Api::all(admin.clone());
        let mut slice = slices.get("node-1-gpus").await.unwrap();
        for device in slice.spec.devices.iter_mut().flatten() {
            let taint = json!({"key": "example.com/sick", "effect": "NoExecute"});
            device.taints = Some(vec![serde_json::from_value(taint).unwrap()]);
        }
        let slice = slices.replace("node-1-gpus", &PostParams::default(), &slice).await.unwrap();
        let taints = slice.spec.devices.iter().flatten().flat_map(|device| device.taints.iter().flatten());
        let added = taints.map(|taint| taint.time_added.clone().unwrap().0).min().unwrap();
        let left = async |name: &str| {
            let gone = || async {
                let pod = pods.get_opt(name).await.map_err(|error| error.to_string())?;
                pod.map_or(Ok(()), |pod| Err(format!("{:?}", pod.status)))
            };
            eventually(2 * MINUTE, "the pod gone", gone).await;
            component_base::clock::now().as_second() - added.as_second()
        };
        assert!(left("frail").await < 10);
        assert!(left("tough").await >= 30);
        // Each was told why before it was deleted.
        for name in ["frail", "tough"] {
            let key = format!("/registry/pods/default/{name}");
            let history = cluster.history();
            let mut states =
                history.0.iter().filter(|entry| entry.key == key).filter_map(|entry| entry.value.as_deref());
            let reason = "DeletionByDeviceTaintManager";
            assert!(states.any(|state| String::from_utf8_lossy(state).contains(reason)), "{name}");
        }
    });
}
