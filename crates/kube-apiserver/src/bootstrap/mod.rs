//! Objects that every cluster has from the start.

mod api_services;
mod flowcontrol;

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use api_semantics::Part;
use apiserver::{
    error::Error,
    meta,
    model::Resource,
    registry::{Change, Create, Writer},
    server::Core,
};
use futures::{FutureExt, TryFutureExt, future::BoxFuture, future::try_join_all};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// How often the server's own service is looked after.
const REPAIR: Duration = Duration::from_secs(10);

const PRIORITY_CLASSES: [(&str, i64, &str); 2] = [
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];

/// Creates what is missing; what is there stays as it is.
pub(crate) async fn objects(core: &Core, config: &Config) -> Result<()> {
    let mut wanted: Vec<(&str, &str, Value)> = Vec::new();
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        wanted.push(("", "namespaces", json!({ "metadata": { "name": name } })));
    }
    for (name, value, description) in PRIORITY_CLASSES {
        let class = json!({ "metadata": { "name": name }, "value": value, "description": description });
        wanted.push(("scheduling.k8s.io", "priorityclasses", class));
    }
    let cidrs: Vec<String> = config.service_ips.iter().map(ToString::to_string).collect();
    let range = json!({ "metadata": { "name": "kubernetes" }, "spec": { "cidrs": cidrs } });
    wanted.push(("networking.k8s.io", "servicecidrs", range));
    for (plural, object) in flowcontrol::objects() {
        wanted.push(("flowcontrol.apiserver.k8s.io", plural, object));
    }
    // All at once: the store commits them together.
    let mut writes: Vec<BoxFuture<'_, Result<(), Error>>> = Vec::new();
    for (group, plural, object) in wanted {
        writes.push(create(core, group, plural, object).map_ok(|_| ()).boxed());
    }
    for service in api_services::objects(core) {
        writes.push(create(core, "apiregistration.k8s.io", "apiservices", service).map_ok(|_| ()).boxed());
    }
    try_join_all(writes).await?;
    Ok(())
}

/// Whether the object was not there before.
async fn create(core: &Core, group: &str, plural: &str, object: Value) -> Result<bool, Error> {
    let resource = core.catalog.find(group, "v1", plural).ok_or_else(Error::no_such_path)?;
    let object = decoded(&resource, object)?;
    let namespace = meta::namespace(&object).to_owned();
    match core.registry.create(&resource, &namespace, object, &Writer::system()).await {
        Ok(_) => Ok(true),
        Err(e) if e.reason == "AlreadyExists" => Ok(false),
        Err(e) => Err(e),
    }
}

/// The service that pods reach this server by, with its endpoints; kept at what this server is.
pub(crate) async fn kubernetes_service(core: &Core, config: &Config) -> Result<()> {
    let first = config.service_ips.first().map(|range| range.first().to_string());
    let port = config.secure_port;
    let service = json!({
        "metadata": {
            "name": "kubernetes", "namespace": "default", "labels": { "component": "apiserver", "provider": "kubernetes" },
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": first, "sessionAffinity": "None",
            "ports": [{ "name": "https", "port": 443, "protocol": "TCP", "targetPort": port }],
        },
    });
    let services = core.catalog.find("", "v1", "services").ok_or_else(Error::no_such_path)?;
    match core.registry.get_value(&services, "default", "kubernetes").await {
        Err(e) if e.is_not_found() => create(core, "", "services", service).await.map(|_| ())?,
        other => other.map(|_| ())?,
    }
    if config.advertise_address.is_loopback() {
        tracing::warn!("no address but the loopback: pods can't reach this server through its service");
        return Ok(());
    }
    let address = config.advertise_address.to_string();
    let endpoints = json!({
        "metadata": {
            "name": "kubernetes", "namespace": "default", "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" },
        },
        "subsets": [{ "addresses": [{ "ip": address }], "ports": [{ "name": "https", "port": port, "protocol": "TCP" }] }],
    });
    put(core, Part::Main, "", "endpoints", endpoints).await?;
    let slice = json!({
        "metadata": { "name": "kubernetes", "namespace": "default", "labels": { "kubernetes.io/service-name": "kubernetes" } },
        "addressType": if config.advertise_address.is_ipv6() { "IPv6" } else { "IPv4" },
        "endpoints": [{ "addresses": [address], "conditions": { "ready": true } }],
        "ports": [{ "name": "https", "port": port, "protocol": "TCP" }],
    });
    put(core, Part::Main, "discovery.k8s.io", "endpointslices", slice).await?;
    Ok(())
}

/// Repairs [`kubernetes_service`] when somebody changed it.
pub(crate) async fn keep_kubernetes_service(core: Arc<Core>, config: Config, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(REPAIR) => {}
        }
        if let Err(error) = kubernetes_service(&core, &config).await {
            tracing::warn!(%error, "the kubernetes service could not be kept");
        }
    }
}

/// What aggregated servers and daemons authenticate clients with.
pub(crate) async fn authentication_config(core: &Core, config: &Config) -> Result<()> {
    let mut data = serde_json::Map::new();
    if let Some(path) = &config.client_ca {
        let ca = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        data.insert("client-ca-file".to_owned(), ca.into());
    }
    if let Some(proxy) = &config.auth.request_header {
        let path = &proxy.client_ca_file;
        let ca = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        data.insert("requestheader-client-ca-file".to_owned(), ca.into());
        for (name, values) in [
            ("allowed-names", &proxy.allowed_names),
            ("username-headers", &proxy.username_headers),
            ("uid-headers", &proxy.uid_headers),
            ("group-headers", &proxy.group_headers),
            ("extra-headers-prefix", &proxy.extra_header_prefixes),
        ] {
            data.insert(format!("requestheader-{name}"), json!(values).to_string().into());
        }
    }
    let map = json!({
        "metadata": { "name": "extension-apiserver-authentication", "namespace": "kube-system" }, "data": data,
    });
    put(core, Part::Main, "", "configmaps", map).await?;
    Ok(())
}

/// Creates the object, or gives it these contents where it differs.
async fn put(core: &Core, part: Part, group: &str, plural: &str, object: Value) -> Result<(), Error> {
    let resource = core.catalog.find(group, "v1", plural).ok_or_else(Error::no_such_path)?;
    let object = decoded(&resource, object)?;
    let (namespace, name) = (meta::namespace(&object).to_owned(), meta::name(&object).to_owned());
    let change = Change {
        part,
        subresource: if part == Part::Status { "status" } else { "" },
        make: Box::new(|_| Ok(object.clone())),
        keeps_owners: part == Part::Status,
        create: if part == Part::Main { Create::Always } else { Create::Never },
    };
    core.registry.update(&resource, &namespace, &name, &change, &Writer::system()).await?;
    Ok(())
}

fn decoded(resource: &Resource, mut object: Value) -> Result<Value, Error> {
    resource.format.stamp(&mut object);
    let (mut object, _) = apiserver::codec::decode_patched(&resource.format, &Value::Null, object)?;
    resource.format.stamp(&mut object);
    resource.format.strategy.default(&mut object);
    Ok(object)
}
