//! What services make of pods.

use std::collections::BTreeMap;

use api_types::k8s_openapi::api::{
    core::v1::{Node, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use testkit::{builders::deployment, eventually};

use super::{MINUTE, in_default, on_cluster};

/// Endpoints by whom they are meant for: zones, and nodes.
type Hints = BTreeMap<(Vec<String>, Vec<String>), usize>;

async fn hints(client: &Client) -> Result<Hints, String> {
    let slices: Api<EndpointSlice> = in_default(client);
    let params = ListParams::default().labels("kubernetes.io/service-name=web");
    let slices = slices.list(&params).await.map_err(|error| error.to_string())?;
    let mut all = Hints::new();
    for endpoint in slices.into_iter().flat_map(|slice| slice.endpoints.unwrap_or_default()) {
        let hints = endpoint.hints.unwrap_or_default();
        let zones = hints.for_zones.into_iter().flatten().map(|zone| zone.name).collect();
        let nodes = hints.for_nodes.into_iter().flatten().map(|node| node.name).collect();
        *all.entry((zones, nodes)).or_default() += 1;
    }
    Ok(all)
}

/// Waits until so many endpoints are meant for each of these.
async fn are_meant_for(client: &Client, wanted: &[(&[&str], &[&str], usize)]) {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let wanted: Hints = wanted.iter().map(|(zones, nodes, count)| ((owned(zones), owned(nodes)), *count)).collect();
    let found = || async {
        let found = hints(client).await?;
        if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
    };
    eventually(5 * MINUTE, "the hints", found).await;
}

async fn change(client: &Client, patch: Value) {
    let services: Api<Service> = in_default(client);
    services.patch("web", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

#[test]
fn endpoints_say_whom_they_are_meant_for() {
    on_cluster(76, 2, async |cluster| {
        let admin = cluster.admin();
        let nodes: Api<Node> = Api::all(admin.clone());
        for number in 0..2 {
            let labels = json!({"metadata": {"labels": {"topology.kubernetes.io/zone": format!("zone-{number}")}}});
            let label = || async {
                let name = format!("node-{number}");
                let done = nodes.patch(&name, &PatchParams::default(), &Patch::Merge(labels.clone())).await;
                done.map(drop).map_err(|error| error.to_string())
            };
            eventually(MINUTE, "the node in its zone", label).await;
        }
        let spread = json!([{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone",
            "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]);
        let mut web = serde_json::to_value(deployment("web").namespace("default").replicas(4).build()).unwrap();
        web["spec"]["template"]["spec"]["topologySpreadConstraints"] = spread;
        let web: api_types::k8s_openapi::api::apps::v1::Deployment = serde_json::from_value(web).unwrap();
        let service = json!({"metadata": {"name": "web"}, "spec": {"selector": web.spec.as_ref().unwrap().selector.match_labels,
            "ports": [{"port": 80}], "trafficDistribution": "PreferSameNode"}});
        let service: Service = serde_json::from_value(service).unwrap();
        in_default(&admin).create(&PostParams::default(), &service).await.unwrap();
        in_default(&admin).create(&PostParams::default(), &web).await.unwrap();
        are_meant_for(&admin, &[(&["zone-0"], &["node-0"], 2), (&["zone-1"], &["node-1"], 2)]).await;
        change(&admin, json!({"spec": {"trafficDistribution": "PreferSameZone"}})).await;
        are_meant_for(&admin, &[(&["zone-0"], &[], 2), (&["zone-1"], &[], 2)]).await;
        change(&admin, json!({"spec": {"trafficDistribution": null}})).await;
        are_meant_for(&admin, &[(&[], &[], 4)]).await;
        change(&admin, json!({"metadata": {"annotations": {"service.kubernetes.io/topology-mode": "Auto"}}})).await;
        are_meant_for(&admin, &[(&["zone-0"], &[], 2), (&["zone-1"], &[], 2)]).await;
        // With its node silent a zone takes no load, and with one zone there is nothing to share out.
        cluster.stop_node("node-1");
        are_meant_for(&admin, &[(&[], &[], 4)]).await;
    });
}
