//! Three API servers on one etcd cluster of three.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use history::{
    Recorder, Report,
    processes::{self, Cluster, Fault, wait_until},
    workload::{self, Plan},
};
use kube::{
    Api,
    api::{DynamicObject, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};

const PLAN: Plan = Plan { writers: 4, watchers: 4, operations: 120, keys: 6, pause: Duration::from_millis(80) };
const SERVICES: usize = 90;

#[tokio::test]
async fn three_servers_on_three_members() {
    let Some(program) = processes::etcd_program() else { return };
    let mut cluster = Cluster::on_etcd(&program, 3, 3).await.unwrap();
    addresses_are_unique(&cluster).await.unwrap();
    controllers_fail_over(&mut cluster).await.unwrap();
    let recorder = Recorder::default();
    let (clients, mut told) = (cluster.clients.clone(), Vec::new());
    let outcome = workload::run(&clients, PLAN, &recorder, kill_leaders(&mut cluster, &mut told)).await;
    outcome.unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.logs()));
    super::check(&Report::of(&recorder, told));
}

fn api(client: &kube::Client, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
    Api::default_namespaced_with(client.clone(), &ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind)))
}

/// Services that are created through all servers at once get addresses and node ports of their own.
async fn addresses_are_unique(cluster: &Cluster) -> Result<()> {
    let creations = (0..SERVICES).map(|n| {
        let services = api(&cluster.clients[n % 3], "", "v1", "Service");
        async move {
            let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("s-{n}")},
                "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
            services.create(&PostParams::default(), &serde_json::from_value(service)?).await.context("creating")
        }
    });
    let (mut addresses, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for created in futures::future::try_join_all(creations).await? {
        let text = |path: &str| created.data.pointer(path).map(Value::to_string).unwrap_or_default();
        let (address, port) = (text("/spec/clusterIP"), text("/spec/ports/0/nodePort"));
        ensure!(addresses.insert(address.clone()), "{address} was given twice");
        ensure!(ports.insert(port.clone()), "node port {port} was given twice");
    }
    Ok(())
}

/// Of two controller managers one leads; when it dies, the other goes on.
async fn controllers_fail_over(cluster: &mut Cluster) -> Result<()> {
    let mut managers = Vec::new();
    for n in 0..2 {
        let args = [
            format!("--kubeconfig={}", cluster.kubeconfig(n)?.display()),
            "--secure-port=0".to_owned(),
            "--leader-elect-lease-duration=3s".to_owned(),
            "--leader-elect-renew-deadline=2s".to_owned(),
            "--leader-elect-retry-period=500ms".to_owned(),
            "--controllers=serviceaccount-controller".to_owned(),
        ];
        managers.push(cluster.component("kube-controller-manager", &format!("manager-{n}.log"), &args)?);
        // The first one leads, so that it is known whom to kill.
        account_appears(cluster, &format!("fail-over-{n}")).await?;
    }
    let before = holder(cluster).await?;
    managers[0].kill()?;
    account_appears(cluster, "fail-over-2").await?;
    let after = holder(cluster).await?;
    ensure!(before != after, "{before} still leads");
    Ok(())
}

async fn holder(cluster: &Cluster) -> Result<String> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("coordination.k8s.io", "v1", "Lease"));
    let leases: Api<DynamicObject> = Api::namespaced_with(cluster.clients[2].clone(), "kube-system", &resource);
    let lease = leases.get("kube-controller-manager").await?;
    Ok(lease.data.pointer("/spec/holderIdentity").map(Value::to_string).unwrap_or_default())
}

/// A new namespace gets its account: a controller manager works.
async fn account_appears(cluster: &Cluster, name: &str) -> Result<()> {
    let namespaces = kube::Api::<DynamicObject>::all_with(
        cluster.clients[2].clone(),
        &ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Namespace")),
    );
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    namespaces.create(&PostParams::default(), &serde_json::from_value(namespace)?).await?;
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ServiceAccount"));
    let accounts: Api<DynamicObject> = Api::namespaced_with(cluster.clients[2].clone(), name, &resource);
    wait_until("the namespace's account", || async { accounts.get("default").await.ok() }).await.map(drop)
}

/// Kills what leads: a member of etcd, an API server, the member that leads then.
async fn kill_leaders(cluster: &mut Cluster, told: &mut Vec<String>) -> Result<()> {
    let pause = Duration::from_millis(1500);
    for _ in 0..2 {
        tokio::time::sleep(pause).await;
        let leader = cluster.leader().await?;
        told.push(format!("kill etcd {leader}, the leader"));
        cluster.etcd[leader].suffer(Fault::Kill, pause).await?;
        tokio::time::sleep(pause).await;
        told.push("kill kube-apiserver 0".to_owned());
        cluster.servers[0].suffer(Fault::Kill, pause).await?;
        cluster.wait_ready(0).await?;
    }
    Ok(())
}
