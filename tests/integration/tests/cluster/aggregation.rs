//! What the controllers do while an aggregated API server is away.

use api_types::k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, PostParams},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};
use testkit::{builders::namespace, eventually};

use crate::{MINUTE, on_cluster};

fn api_services(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("apiregistration.k8s.io", "v1", "APIService");
    Api::all_with(client.clone(), &ApiResource::from_gvk(&kind))
}

#[test]
fn a_namespace_waits_for_a_group_that_nobody_answers() {
    on_cluster(31, 0, async |cluster| {
        let admin = cluster.admin();
        let registered: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1.gone.example.com"},
            "spec": {"group": "gone.example.com", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 10,
                "insecureSkipTLSVerify": true, "service": {"namespace": "default", "name": "gone"}},
        }))
        .unwrap();
        api_services(&admin).create(&PostParams::default(), &registered).await.unwrap();
        let unavailable = || async {
            let found = api_services(&admin).get("v1.gone.example.com").await.map_err(|error| error.to_string())?;
            let condition = &found.data["status"]["conditions"][0];
            if condition["reason"] == "ServiceNotFound" { Ok(()) } else { Err(condition.to_string()) }
        };
        eventually(MINUTE, "the API service unavailable", unavailable).await;

        let namespaces: Api<Namespace> = Api::all(admin.clone());
        namespaces.create(&PostParams::default(), &namespace("shop")).await.unwrap();
        let maps: Api<ConfigMap> = Api::namespaced(admin.clone(), "shop");
        let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "a"}})).unwrap();
        maps.create(&PostParams::default(), &map).await.unwrap();
        namespaces.delete("shop", &DeleteParams::default()).await.unwrap();
        let told = "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: \
                    gone.example.com/v1: stale GroupVersion discovery: gone.example.com/v1";
        let waits = || async {
            let found = namespaces.get("shop").await.map_err(|error| error.to_string())?;
            let status: Value = serde_json::to_value(found.status).map_err(|error| error.to_string())?;
            let mut conditions = status["conditions"].as_array().into_iter().flatten();
            let failure = conditions.find(|c| c["type"] == "NamespaceDeletionDiscoveryFailure");
            let is_told = failure.is_some_and(|c| c["status"] == "True" && c["message"] == told);
            let left = maps.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items.len();
            if is_told && left == 0 { Ok(()) } else { Err(format!("{left} left, {status}")) }
        };
        eventually(5 * MINUTE, "the namespace empty and waiting", waits).await;

        api_services(&admin).delete("v1.gone.example.com", &DeleteParams::default()).await.unwrap();
        let gone = || async {
            let left = namespaces.get_opt("shop").await.map_err(|error| error.to_string())?;
            left.map_or(Ok(()), |left| Err(format!("{:?}", left.status)))
        };
        eventually(10 * MINUTE, "the namespace gone", gone).await;
    });
}
