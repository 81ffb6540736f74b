//! What a pod's resolv.conf says.

use crate::pod::PodExt;
use api_types::k8s_openapi::api::core::v1::Pod;
use k8s_cri::v1::DnsConfig;

const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;

/// The node's part of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NodeDns {
    /// The cluster's servers (--cluster-dns).
    pub cluster: Vec<String>,
    /// The cluster's domain (--cluster-domain).
    pub domain: String,
    /// The host's resolv.conf.
    pub host: DnsConfig,
}

/// Parses a resolv.conf: servers, the last `search` line, options.
pub(crate) fn parse(text: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => config.servers.extend(words.next()),
            Some("search") => config.searches = words.map(|domain| domain.trim_end_matches('.').to_owned()).collect(),
            Some("options") => config.options = words.collect(),
            _ => {}
        }
    }
    config
}

/// The pod's DNS configuration.
pub(crate) fn for_pod(pod: &Pod, node: &NodeDns) -> DnsConfig {
    let policy = pod.spec().dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster = match policy {
        "ClusterFirst" => !pod.host_network(),
        "ClusterFirstWithHostNet" => true,
        _ => false,
    };
    let mut config = match policy {
        "None" => DnsConfig::default(),
        _ if cluster && !node.cluster.is_empty() => cluster_first(pod, node),
        _ => node.host.clone(),
    };
    if let Some(own) = &pod.spec().dns_config {
        append(&mut config.servers, own.nameservers.iter().flatten().cloned());
        append(
            &mut config.searches,
            own.searches.iter().flatten().map(|search| search.trim_end_matches('.').to_owned()),
        );
        for option in own.options.iter().flatten() {
            let name = option.name.as_deref().unwrap_or_default();
            config.options.retain(|old| old != name && !old.starts_with(&format!("{name}:")));
            config.options.push(match option.value.as_deref() {
                Some(value) if !value.is_empty() => format!("{name}:{value}"),
                _ => name.to_owned(),
            });
        }
    }
    config.servers.truncate(MAX_SERVERS);
    config.searches.truncate(MAX_SEARCHES);
    config
}

fn cluster_first(pod: &Pod, node: &NodeDns) -> DnsConfig {
    let domain = &node.domain;
    let mut searches = Vec::new();
    if !domain.is_empty() {
        searches = vec![format!("{}.svc.{domain}", pod.ns()), format!("svc.{domain}"), domain.clone()];
    }
    append(&mut searches, node.host.searches.iter().cloned());
    DnsConfig { servers: node.cluster.clone(), searches, options: vec!["ndots:5".into()] }
}

fn append(list: &mut Vec<String>, more: impl Iterator<Item = String>) {
    for item in more {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn policies() {
        let host = parse("# c\nnameserver 1.1.1.1\nsearch old\nsearch example.org.\noptions ndots:2 edns0\n");
        let node = NodeDns { cluster: vec!["10.96.0.10".into()], domain: "cluster.local".into(), host };
        let pod = |spec: serde_json::Value| -> Pod {
            from_value(json!({"metadata": {"namespace": "n"}, "spec": spec})).unwrap()
        };
        let cluster = for_pod(&pod(json!({"containers": []})), &node);
        assert_eq!(cluster.servers, ["10.96.0.10"]);
        assert_eq!(cluster.searches, ["n.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.org"]);
        assert_eq!(cluster.options, ["ndots:5"]);
        let host = for_pod(&pod(json!({"containers": [], "hostNetwork": true})), &node);
        assert_eq!(
            (host.servers, host.options),
            (vec!["1.1.1.1".to_owned()], vec!["ndots:2".to_owned(), "edns0".to_owned()])
        );
        let own = for_pod(
            &pod(json!({"containers": [], "dnsPolicy": "None",
                "dnsConfig": {"nameservers": ["9.9.9.9"], "options": [{"name": "ndots", "value": "3"}]}})),
            &node,
        );
        assert_eq!(
            (own.servers, own.searches, own.options),
            (vec!["9.9.9.9".to_owned()], vec![], vec!["ndots:3".to_owned()])
        );
    }
}
