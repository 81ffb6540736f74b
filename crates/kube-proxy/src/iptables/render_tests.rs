use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::{
    compile::compile_service,
    model::{Family, Node, ServiceName, World},
};

fn fragment(spec: Value, status: Value, endpoints: Value) -> Fragment {
    let mut full = json!({"clusterIP": "172.30.0.41", "clusterIPs": ["172.30.0.41"], "ports": [{"name": "p80", "port": 80, "nodePort": 3001}]});
    full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let mut world = World::default();
    let service = json!({"metadata": {"name": "svc1", "namespace": "ns1"}, "spec": full, "status": status});
    world.set_service(Arc::new(serde_json::from_value(service).unwrap()));
    let slice = json!({"metadata": {"name": "x", "namespace": "ns1", "labels": {"kubernetes.io/service-name": "svc1"}},
        "addressType": "IPv4", "ports": [{"name": "p80", "port": 80, "protocol": "TCP"}], "endpoints": endpoints});
    world.set_slice(Arc::new(serde_json::from_value(slice).unwrap()));
    let name = ServiceName { namespace: "ns1".into(), name: "svc1".into() };
    let node = Node { name: "n1".into(), ..Node::default() };
    let settings = Settings {
        local: LocalTraffic::Cidr("10.0.0.0/8".into()),
        node_ips: vec!["203.0.113.7".parse().unwrap()],
        ..Settings::default()
    };
    render(&compile_service(&world, &name, Family::V4, &node), &settings)
}

fn two() -> Value {
    json!([{"addresses": ["10.180.0.1"], "nodeName": "n1"}, {"addresses": ["10.180.0.2"], "nodeName": "n2"}])
}

/// Every rule, with its chain.
fn text(fragment: &Fragment) -> String {
    let shared = [
        ("KUBE-SERVICES", &fragment.services),
        ("KUBE-NODEPORTS", &fragment.node_ports),
        ("filter KUBE-SERVICES", &fragment.rejected),
        ("KUBE-EXTERNAL-SERVICES", &fragment.rejected_external),
        ("KUBE-PROXY-FIREWALL", &fragment.firewall),
        ("filter KUBE-NODEPORTS", &fragment.health),
    ];
    let own = fragment.chains.iter().map(|(name, lines)| (name.as_str(), lines));
    let all =
        shared.into_iter().chain(own).flat_map(|(name, lines)| lines.iter().map(move |l| format!("{name}: {l}\n")));
    all.collect()
}

fn check(fragment: &Fragment, want: &[&str]) {
    let text = text(fragment);
    for part in want {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn a_cluster_ip_is_balanced_and_masqueraded_for_outsiders() {
    let got = fragment(json!({"ports": [{"name": "p80", "port": 80}]}), json!({}), two());
    check(
        &got,
        &[
            r#"KUBE-SERVICES: -m comment --comment "ns1/svc1:p80 cluster IP" -m tcp -p tcp -d 172.30.0.41 --dport 80 -j KUBE-SVC-XPGD46QRK7WJZT7O"#,
            r#"KUBE-SVC-XPGD46QRK7WJZT7O: -m comment --comment "ns1/svc1:p80 cluster IP" -m tcp -p tcp -d 172.30.0.41 --dport 80 ! -s 10.0.0.0/8 -j KUBE-MARK-MASQ"#,
            r#""ns1/svc1:p80 -> 10.180.0.1:80" -m statistic --mode random --probability 0.5000000000 -j KUBE-SEP-SXIVWICOYRO3J4NJ"#,
            "KUBE-SEP-SXIVWICOYRO3J4NJ: -m comment --comment ns1/svc1:p80 -s 10.180.0.1 -j KUBE-MARK-MASQ",
            "KUBE-SEP-SXIVWICOYRO3J4NJ: -m comment --comment ns1/svc1:p80 -m tcp -p tcp -j DNAT --to-destination 10.180.0.1:80",
        ],
    );
    assert_eq!(got.chains.len(), 3);
    assert!(got.node_ports.is_empty());
}

#[test]
fn without_endpoints_it_is_refused_everywhere() {
    let spec = json!({"type": "LoadBalancer", "externalIPs": ["192.168.99.11"]});
    let status = json!({"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}});
    let got = fragment(spec, status, json!([]));
    check(
        &got,
        &[
            r#"filter KUBE-SERVICES: -m comment --comment "ns1/svc1:p80 has no endpoints" -m tcp -p tcp -d 172.30.0.41 --dport 80 -j REJECT"#,
            "-d 192.168.99.11 --dport 80 -j REJECT",
            "-d 1.2.3.4 --dport 80 -j REJECT",
            "-m addrtype --dst-type LOCAL -m tcp -p tcp --dport 3001 -j REJECT",
        ],
    );
    assert!(got.chains.is_empty() && got.services.is_empty() && got.node_ports.is_empty());
}

#[test]
fn outside_traffic_is_masqueraded_unless_it_stays_local() {
    let anywhere = fragment(json!({"type": "NodePort"}), json!({}), two());
    check(
        &anywhere,
        &[
            "KUBE-NODEPORTS: -m comment --comment ns1/svc1:p80 -m tcp -p tcp --dport 3001 -j KUBE-EXT-XPGD46QRK7WJZT7O",
            r#"KUBE-EXT-XPGD46QRK7WJZT7O: -m comment --comment "masquerade traffic for ns1/svc1:p80 external destinations" -j KUBE-MARK-MASQ"#,
            "KUBE-EXT-XPGD46QRK7WJZT7O: -j KUBE-SVC-XPGD46QRK7WJZT7O",
        ],
    );
    let local = fragment(
        json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30500}),
        json!({}),
        two(),
    );
    check(
        &local,
        &[
            r#""pod traffic for ns1/svc1:p80 external destinations" -s 10.0.0.0/8 -j KUBE-SVC-XPGD46QRK7WJZT7O"#,
            r#""route LOCAL traffic for ns1/svc1:p80 external destinations" -m addrtype --src-type LOCAL -j KUBE-SVC-"#,
            "KUBE-EXT-XPGD46QRK7WJZT7O: -j KUBE-SVL-XPGD46QRK7WJZT7O",
            r#"KUBE-SVL-XPGD46QRK7WJZT7O: -m comment --comment "ns1/svc1:p80 -> 10.180.0.1:80" -j KUBE-SEP-SXIVWICOYRO3J4NJ"#,
            r#"filter KUBE-NODEPORTS: -m comment --comment "ns1/svc1 health check node port" -m tcp -p tcp --dport 30500 -j ACCEPT"#,
        ],
    );
    let elsewhere = json!([{"addresses": ["10.180.0.2"], "nodeName": "n2"}]);
    let none = fragment(json!({"type": "NodePort", "externalTrafficPolicy": "Local"}), json!({}), elsewhere);
    check(
        &none,
        &[r#""ns1/svc1:p80 has no local endpoints" -m addrtype --dst-type LOCAL -m tcp -p tcp --dport 3001 -j DROP"#],
    );
    assert!(!none.chains["KUBE-EXT-XPGD46QRK7WJZT7O"].iter().any(|l| l.starts_with("-j")));
}

#[test]
fn source_ranges_guard_the_load_balancer() {
    let spec = json!({"type": "LoadBalancer", "loadBalancerSourceRanges": ["203.0.113.0/25"]});
    let got = fragment(
        spec,
        json!({"loadBalancer": {"ingress": [{"ip": "5.6.7.8"}, {"ip": "9.9.9.9", "ipMode": "Proxy"}]}}),
        two(),
    );
    check(
        &got,
        &[
            r#"KUBE-SERVICES: -m comment --comment "ns1/svc1:p80 loadbalancer IP" -m tcp -p tcp -d 5.6.7.8 --dport 80 -j KUBE-FW-XPGD46QRK7WJZT7O"#,
            r#"KUBE-FW-XPGD46QRK7WJZT7O: -m comment --comment "ns1/svc1:p80 loadbalancer IP" -s 203.0.113.0/25 -j KUBE-EXT-XPGD46QRK7WJZT7O"#,
            "-s 5.6.7.8 -j KUBE-EXT-XPGD46QRK7WJZT7O",
            r#"KUBE-PROXY-FIREWALL: -m comment --comment "ns1/svc1:p80 traffic not accepted by KUBE-FW-XPGD46QRK7WJZT7O" -m tcp -p tcp -d 5.6.7.8 --dport 80 -j DROP"#,
        ],
    );
    assert!(!text(&got).contains("9.9.9.9"), "a proxied address is not ours");
}

#[test]
fn clients_stick() {
    let got = fragment(json!({"sessionAffinity": "ClientIP"}), json!({}), two());
    check(
        &got,
        &[
            "-m recent --name KUBE-SEP-SXIVWICOYRO3J4NJ --rcheck --seconds 10800 --reap -j KUBE-SEP-SXIVWICOYRO3J4NJ",
            "-m recent --name KUBE-SEP-SXIVWICOYRO3J4NJ --set -m tcp -p tcp -j DNAT --to-destination 10.180.0.1:80",
        ],
    );
}

#[test]
fn ranges_hold_addresses() {
    let table = [
        ("10.0.0.0/8", "10.255.0.1", true),
        ("10.0.0.0/8", "11.0.0.1", false),
        ("0.0.0.0/0", "1.1.1.1", true),
        ("10.0.0.7", "10.0.0.7", true),
        ("10.0.0.7/32", "10.0.0.8", false),
        ("fd00::/8", "fd12::1", true),
        ("fd00::/8", "10.0.0.1", false),
        ("x/8", "10.0.0.1", false),
    ];
    for (cidr, ip, want) in table {
        assert_eq!(contains(cidr, ip.parse().unwrap()), want, "{cidr} {ip}");
    }
}
