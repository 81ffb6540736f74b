//! Nodes join.

use api_types::k8s_openapi::{api::core::v1::Node, jiff::Timestamp};
use kube::Api;
use testkit::eventually;

use super::{MINUTE, on_cluster};

/// Since when the node is ready.
fn ready_since(node: &Node) -> Option<Timestamp> {
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

/// A node registers without a pod network, so it is not ready at first. It is given one, tells its runtime, and says that it is ready
/// without waiting for the period of its status.
#[test]
fn a_node_is_ready_soon_after_it_registered() {
    on_cluster(71, 1, async |cluster| {
        let nodes: Api<Node> = Api::all(cluster.admin());
        let ready = || async {
            let node = nodes.get("node-0").await.map_err(|error| error.to_string())?;
            ready_since(&node).map(|since| (node.clone(), since)).ok_or_else(|| format!("{:?}", node.status))
        };
        let (node, since) = eventually(MINUTE, "the node ready", ready).await;
        assert!(node.spec.is_some_and(|spec| spec.pod_cidr.is_some()));
        let created = node.metadata.creation_timestamp.unwrap().0;
        assert!(since.as_second() - created.as_second() <= 2, "created at {created}, ready since {since}");
    });
}
