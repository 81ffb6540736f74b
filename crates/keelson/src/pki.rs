//! The cluster's keys: a CA and a certificate per component, another CA for the word of the API server to aggregated ones, the key pair that
//! signs service-account tokens.
//!
//! Files that exist are kept, so that a second `up` changes nothing.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};

use crate::spec::{Cluster, KUBERNETES_SERVICE_IP};

/// One certificate: file name, subject, use and names.
struct Leaf {
    file: String,
    common_name: String,
    organization: Option<String>,
    server_names: Vec<String>,
}

impl Leaf {
    fn client(file: &str, common_name: &str, organization: Option<&str>) -> Self {
        Leaf {
            file: file.into(),
            common_name: common_name.into(),
            organization: organization.map(str::to_owned),
            server_names: Vec::new(),
        }
    }

    fn server(file: &str, common_name: &str, server_names: Vec<String>) -> Self {
        Leaf { file: file.into(), common_name: common_name.into(), organization: None, server_names }
    }
}

/// The component identities of the cluster: kubeconfig name, user, group.
pub(crate) const CLIENTS: [(&str, &str, Option<&str>); 5] = [
    ("admin", "kubernetes-admin", Some("system:masters")),
    ("kube-controller-manager", "system:kube-controller-manager", None),
    ("kube-scheduler", "system:kube-scheduler", None),
    ("cloud-controller-manager", "system:cloud-controller-manager", None),
    ("kube-proxy", "system:kube-proxy", None),
];

fn leaves(cluster: &Cluster) -> Vec<Leaf> {
    let mut api_names: Vec<String> = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
    ]
    .map(str::to_owned)
    .into();
    api_names.extend([KUBERNETES_SERVICE_IP.to_owned(), "127.0.0.1".to_owned(), cluster.control_plane().to_string()]);
    let mut leaves = vec![
        Leaf::server("apiserver", "kube-apiserver", api_names),
        Leaf::server(
            "scheduler",
            "kube-scheduler",
            vec!["localhost".to_owned(), "127.0.0.1".to_owned(), cluster.control_plane().to_string()],
        ),
        Leaf::client("apiserver-kubelet-client", "kube-apiserver-kubelet-client", Some("system:masters")),
    ];
    leaves.extend(CLIENTS.iter().map(|(file, user, group)| Leaf::client(file, user, *group)));
    for node in cluster.nodes() {
        let (name, address) = (&node.name, node.address.to_string());
        leaves.push(Leaf::server(
            &format!("kubelet-{name}"),
            &format!("system:node:{name}"),
            vec![name.clone(), address],
        ));
    }
    // The control-plane node's kubelet starts with a certificate; the workers' ask for theirs with a bootstrap token.
    let first = &cluster.nodes()[0].name;
    leaves.push(Leaf::client(&format!("node-{first}"), &format!("system:node:{first}"), Some("system:nodes")));
    leaves
}

/// Makes the files of `pki/` that are missing.
pub(crate) fn create(cluster: &Cluster) -> Result<()> {
    let dir = cluster.pki_dir();
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let issuer = authority(&dir, "ca", &format!("keelson-{}-ca", cluster.name))?;
    for leaf in leaves(cluster) {
        issue(&dir, &leaf, &issuer)?;
    }
    // Of its own: who has a certificate of this one may speak for every user.
    let front = authority(&dir, "front-proxy-ca", &format!("keelson-{}-front-proxy-ca", cluster.name))?;
    issue(&dir, &Leaf::client("front-proxy-client", "front-proxy-client", None), &front)?;
    if !dir.join("sa.key").exists() {
        let key = KeyPair::generate()?;
        write_private(&dir.join("sa.key"), &key.serialize_pem())?;
        fs::write(dir.join("sa.pub"), key.public_key_pem())?;
    }
    Ok(())
}

fn authority(dir: &Path, file: &str, common_name: &str) -> Result<Issuer<'static, KeyPair>> {
    let (cert, key) = (dir.join(format!("{file}.crt")), dir.join(format!("{file}.key")));
    if cert.exists() && key.exists() {
        let pair = KeyPair::from_pem(&fs::read_to_string(&key)?)?;
        return Issuer::from_ca_cert_pem(&fs::read_to_string(&cert)?, pair)
            .with_context(|| format!("read {}", cert.display()));
    }
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
    let pair = KeyPair::generate()?;
    fs::write(&cert, params.self_signed(&pair)?.pem())?;
    write_private(&key, &pair.serialize_pem())?;
    Ok(Issuer::new(params, pair))
}

fn issue(dir: &Path, leaf: &Leaf, issuer: &Issuer<'static, KeyPair>) -> Result<()> {
    let (cert, key) = (dir.join(format!("{}.crt", leaf.file)), dir.join(format!("{}.key", leaf.file)));
    if cert.exists() && key.exists() {
        return Ok(());
    }
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, &leaf.common_name);
    if let Some(organization) = &leaf.organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    for name in &leaf.server_names {
        let san = match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.as_str().try_into()?),
        };
        params.subject_alt_names.push(san);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![if leaf.server_names.is_empty() {
        ExtendedKeyUsagePurpose::ClientAuth
    } else {
        ExtendedKeyUsagePurpose::ServerAuth
    }];
    let pair = KeyPair::generate()?;
    fs::write(&cert, params.signed_by(&pair, issuer)?.pem())?;
    write_private(&key, &pair.serialize_pem())
}

/// Writes a file that only its owner may read.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes()).with_context(|| format!("write {}", path.display()))
}
