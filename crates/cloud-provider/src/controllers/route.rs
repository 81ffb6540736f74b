//! node-route-controller: a route to every node's pods, and none to what is no node's.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use api_types::k8s_openapi::api::core::v1::{Node, NodeCondition};
use component_base::clock;
use component_helpers::conditions;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::sync::Notify;

use super::{Context, repeat};
use crate::Route;

const UNAVAILABLE: &str = "NetworkUnavailable";

pub(super) fn start(context: &Context) {
    if context.cloud.routes().is_none() {
        return;
    }
    let informer = context.informers.informer::<Node>();
    let wake = Arc::new(Notify::new());
    let waker = wake.clone();
    informer.on_event(move |event| {
        if event.old().map(|old| ranges(old)) != Some(ranges(event.object())) || event.is_deleted() {
            waker.notify_one();
        }
    });
    let (store, context, shutdown) = (informer.store().clone(), context.clone(), context.shutdown.clone());
    let (tasks, period) = (context.tasks.clone(), context.route_period);
    tasks.spawn(async move {
        let compare = || async {
            if let Err(error) = reconcile(&context, &store.list()).await {
                tracing::warn!(%error, "could not compare the routes");
            }
        };
        repeat(period, wake, shutdown, compare).await;
    });
}

fn name(node: &Node) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}

fn ranges(node: &Node) -> Vec<String> {
    let Some(spec) = &node.spec else { return Vec::new() };
    spec.pod_cidrs.clone().unwrap_or_else(|| spec.pod_cidr.clone().into_iter().collect())
}

/// What is to be done.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    create: Vec<Route>,
    delete: Vec<Route>,
}

fn plan(nodes: &[Arc<Node>], there: &[(Route, bool)]) -> Plan {
    let route = |node: &Arc<Node>, destination| Route { node: name(node).to_owned(), destination };
    let wanted: BTreeSet<Route> = nodes.iter().flat_map(|n| ranges(n).into_iter().map(move |d| route(n, d))).collect();
    let complete: BTreeSet<&Route> = there.iter().filter(|(_, complete)| *complete).map(|(route, _)| route).collect();
    Plan {
        create: wanted.iter().filter(|r| !complete.contains(r)).cloned().collect(),
        delete: there.iter().map(|(route, _)| route).filter(|r| !wanted.contains(r)).cloned().collect(),
    }
}

async fn reconcile(context: &Context, nodes: &[Arc<Node>]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let Some(routes) = context.cloud.routes() else { return Ok(()) };
    let plan = plan(nodes, &routes.list().await?);
    // A range may have passed from one node to another: what is gone goes first.
    for route in &plan.delete {
        tracing::info!(node = %route.node, destination = %route.destination, "deleting a route");
        routes.delete(route).await?;
    }
    let mut failed: BTreeMap<&str, String> = BTreeMap::new();
    for route in &plan.create {
        tracing::info!(node = %route.node, destination = %route.destination, "creating a route");
        if let Err(error) = routes.create(route).await {
            tracing::warn!(node = %route.node, destination = %route.destination, %error, "could not create the route");
            failed.insert(&route.node, error.to_string());
        }
    }
    for node in nodes.iter().filter(|n| !ranges(n).is_empty()) {
        report(context, node, failed.get(name(node)).map(String::as_str)).await?;
    }
    Ok(())
}

/// Sets the node's condition where it changed.
async fn report(context: &Context, node: &Node, failure: Option<&str>) -> Result<(), kube::Error> {
    let known = conditions::find(node.status.as_ref().and_then(|s| s.conditions.as_ref()), UNAVAILABLE);
    let (status, reason) = if failure.is_some() { ("True", "NoRouteCreated") } else { ("False", "RouteCreated") };
    if known.is_some_and(|c| c.status == status && c.reason.as_deref() == Some(reason)) {
        return Ok(());
    }
    let now = clock::now().to_string();
    let message = failure.map_or_else(
        || "RouteController created a route".to_owned(),
        |why| format!("RouteController failed to create a route: {why}"),
    );
    let since = known
        .filter(|c: &&NodeCondition| c.status == status)
        .and_then(|c| c.last_transition_time.as_ref())
        .map(|t| t.0.to_string());
    let condition = json!({
        "type": UNAVAILABLE, "status": status, "reason": reason, "message": message,
        "lastHeartbeatTime": now, "lastTransitionTime": since.unwrap_or(now.clone()),
    });
    let patch = json!({"status": {"conditions": [condition]}});
    let api: Api<Node> = Api::all(context.client.clone());
    match api.patch_status(name(node), &PatchParams::default(), &Patch::Strategic(&patch)).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        result => result.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creates_what_lacks_and_deletes_what_is_nobodys() {
        let node = |name: &str, range: &str| {
            Arc::new(serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"podCIDR": range}})).unwrap())
        };
        let route = |node: &str, destination: &str| Route { node: node.into(), destination: destination.into() };
        let nodes = [node("a", "10.0.0.0/24"), node("b", "10.0.1.0/24"), node("c", "10.0.2.0/24")];
        let there = [
            (route("a", "10.0.0.0/24"), true),
            (route("b", "10.0.1.0/24"), false),
            (route("gone", "10.0.9.0/24"), true),
            (route("b", "10.0.2.0/24"), true),
        ];
        let got = plan(&nodes, &there);
        assert_eq!(got.create, [route("b", "10.0.1.0/24"), route("c", "10.0.2.0/24")]);
        assert_eq!(got.delete, [route("gone", "10.0.9.0/24"), route("b", "10.0.2.0/24")]);
    }
}
