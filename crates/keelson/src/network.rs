//! The nodes' network: a bridge in the host's namespace, a network namespace per node joined to it by a veth pair.
//!
//! Nodes have the host as default gateway, so that every destination has a route before the proxy's rules rewrite it; a rule on the
//! host makes whatever still comes from the bridge unreachable. So no packet of a cluster leaves the machine.

use anyhow::Result;

use crate::{
    command::{attempt, run},
    spec::{Cluster, Node, POD_CIDR, SERVICE_CIDR},
};

/// Creates what is missing.
pub(crate) async fn create(cluster: &Cluster) -> Result<()> {
    let (bridge, table) = (cluster.bridge(), cluster.routing_table());
    if run(&format!("ip link show {bridge}")).await.is_err() {
        run(&format!("ip link add {bridge} type bridge")).await?;
        run(&format!("ip address add {}/24 dev {bridge}", cluster.gateway())).await?;
    }
    run(&format!("ip link set {bridge} up")).await?;
    attempt(&format!("ip rule delete iif {bridge} lookup {table}")).await;
    run(&format!("ip rule add iif {bridge} priority 1730 lookup {table}")).await?;
    run(&format!("ip route replace unreachable default table {table}")).await?;
    for range in [SERVICE_CIDR, POD_CIDR] {
        run(&format!("ip route replace unreachable {range}")).await?;
    }
    for (i, node) in cluster.nodes().iter().enumerate() {
        create_node(cluster, node, i).await?;
    }
    Ok(())
}

async fn create_node(cluster: &Cluster, node: &Node, number: usize) -> Result<()> {
    let name = &node.name;
    if node.netns().exists() {
        return Ok(());
    }
    let (host_end, inside) =
        (format!("kl{}n{number}", cluster.index), format!("nsenter --net={}", node.netns().display()));
    run(&format!("ip netns add {name}")).await?;
    run(&format!("ip link add {host_end} type veth peer name eth0 netns {name}")).await?;
    run(&format!("ip link set {host_end} master {} up", cluster.bridge())).await?;
    run(&format!("{inside} ip link set lo up")).await?;
    run(&format!("{inside} ip address add {}/24 dev eth0", node.address)).await?;
    run(&format!("{inside} ip link set eth0 up")).await?;
    run(&format!("{inside} ip route add default via {}", cluster.gateway())).await?;
    // An address without a local endpoint or a route to its node must not leave the namespace.
    run(&format!("{inside} ip route add unreachable {POD_CIDR}")).await?;
    run(&format!("{inside} sysctl -q -w net.ipv4.ip_forward=1")).await?;
    Ok(())
}

/// Removes everything that [`create`] made and what the cluster added to it; absent parts are no error. `last` says that no other
/// cluster needs the host's unreachable ranges.
pub(crate) async fn remove(cluster: &Cluster, last: bool) {
    let (bridge, table) = (cluster.bridge(), cluster.routing_table());
    for (number, node) in cluster.nodes().iter().enumerate() {
        attempt(&format!("ip link delete kl{}n{number}", cluster.index)).await;
        attempt(&format!("ip netns delete {}", node.name)).await;
    }
    attempt(&format!("ip rule delete iif {bridge} lookup {table}")).await;
    attempt(&format!("ip route flush table {table}")).await;
    attempt(&format!("ip link delete {bridge}")).await;
    if last {
        for range in [SERVICE_CIDR, POD_CIDR] {
            attempt(&format!("ip route delete unreachable {range}")).await;
        }
    }
}
