use super::*;

fn load_with(args: &[&str]) -> anyhow::Result<(Config, Startup)> {
    load(&Flags::parse("kubelet", TABLE, args.iter().copied()).unwrap())
}

fn with_file(text: &str, args: &[&str]) -> anyhow::Result<(Config, Startup)> {
    let name = format!("kubelet-options-{}-{}.yaml", std::process::id(), component_base::rng::suffix(6));
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, format!("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n{text}"))
        .unwrap();
    let config = format!("--config={}", path.display());
    let mut all = vec![config.as_str()];
    all.extend(args);
    let loaded = load_with(&all);
    std::fs::remove_file(path).unwrap();
    loaded
}

#[test]
fn defaults() {
    let (config, startup) = load_with(&["--hostname-override=Node-1"]).unwrap();
    assert_eq!((config.node.name.as_str(), config.node.max_pods, config.server.port), ("node-1", 110, 10250));
    assert_eq!(config.paths.root, PathBuf::from("/var/lib/kubelet"));
    assert_eq!(startup.runtime_endpoint, "unix:///run/containerd/containerd.sock");
    assert!(config.cgroups.per_qos && config.server.webhook_authz && !config.server.anonymous);
    assert_eq!(config.node.status_report, Duration::from_secs(300));
}

#[test]
fn flags_win_over_the_file() {
    let file = "port: 1\nclusterDNS: [10.0.0.1]\nauthentication: {anonymous: {enabled: true}, x509: {clientCAFile: ca.crt}}\nfeatureGates: {A: true}\n";
    let args = [
        "--port=2",
        "--anonymous-auth=false",
        "--register-with-taints=a=b:NoSchedule,c:NoExecute",
        "--node-ip=10.1.1.1",
    ];
    let (config, _) = with_file(file, &args).unwrap();
    assert_eq!((config.server.port, config.server.anonymous), (2, false));
    assert_eq!(config.cluster_dns, ["10.0.0.1"]);
    assert_eq!(config.server.client_ca, Some(std::env::temp_dir().join("ca.crt")), "relative to the file");
    let taints: Vec<_> = config.node.taints.iter().map(|t| format!("{}={}:{}", t.key, t.value, t.effect)).collect();
    assert_eq!(taints, ["a=b:NoSchedule", "c=:NoExecute"]);
    assert_eq!(config.document["port"], 2);
}

#[test]
fn what_is_not_there_is_refused() {
    let why = |file: &str| format!("{:#}", with_file(file, &[]).unwrap_err());
    assert!(why("cgroupDriver: systemd\n").contains("use cgroupfs"));
    assert!(why("cpuManagerPolicy: static\n").contains("cpuManagerPolicy"));
    assert!(why("portt: 1\n").contains("unknown field \"portt\""));
    assert!(why("maxPods: many\n").contains("invalid type"));
    assert!(why("syncFrequency: soon\n").contains("invalid duration"));
}

#[test]
fn reservations_add_up() {
    let (config, _) = with_file("kubeReserved: {cpu: 100m, memory: 1Gi}\nsystemReserved: {cpu: '1'}\n", &[]).unwrap();
    assert_eq!(
        config.node.reserved,
        BTreeMap::from([("cpu".into(), "1100m".into()), ("memory".into(), "1073741824".into())])
    );
}

#[test]
fn every_flag_that_is_read_is_marked_as_used() {
    let flags: Vec<&str> =
        TABLE.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_whitespace().next()).collect();
    // Reading a flag that is marked as ignored panics.
    load(&Flags::parse("kubelet", TABLE, ["--v=1"]).unwrap()).unwrap();
    assert!(flags.contains(&"hostname-override"));
}
