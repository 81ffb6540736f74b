//! Certificates by CertificateSigningRequest: the node's first client certificate (TLS bootstrap), and the serving certificate.

use anyhow::{Context, bail};
use api_types::k8s_openapi::ByteString;
use api_types::k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use api_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use component_base::clock;
use kube::api::{Api, PostParams};
use kube::config::Kubeconfig;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a request is looked at, and for how long.
const POLL: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// After a failed renewal.
const RENEWAL_RETRY: Duration = Duration::from_secs(60);

/// What a certificate is for.
#[derive(Debug, Clone)]
pub enum Purpose {
    /// The node's identity towards the API server.
    Client,
    /// The kubelet's own port, under these names and addresses.
    Serving(Vec<String>),
}

impl Purpose {
    fn signer(&self) -> &'static str {
        match self {
            Self::Client => "kubernetes.io/kube-apiserver-client-kubelet",
            Self::Serving(_) => "kubernetes.io/kubelet-serving",
        }
    }

    fn usages(&self) -> [&'static str; 2] {
        match self {
            Self::Client => ["digital signature", "client auth"],
            Self::Serving(_) => ["digital signature", "server auth"],
        }
    }

    /// The start of the file's name.
    fn prefix(&self) -> &'static str {
        match self {
            Self::Client => "kubelet-client",
            Self::Serving(_) => "kubelet-server",
        }
    }
}

/// The link to the certificate and key in use.
pub fn current(dir: &Path, purpose: &Purpose) -> PathBuf {
    dir.join(format!("{}-current.pem", purpose.prefix()))
}

/// Whether the file holds a certificate that is valid now.
pub fn is_valid(path: &Path) -> bool {
    let Ok(certificate) = CertificateDer::from_pem_file(path) else { return false };
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(&certificate) else { return false };
    let now = clock::now().as_second();
    let validity = parsed.validity();
    validity.not_before.timestamp() <= now && now < validity.not_after.timestamp()
}

/// Seconds from now until the certificate should be renewed: somewhere between 70% and 90% of its life; none when it can't be read.
fn until_renewal(path: &Path) -> Option<Duration> {
    let certificate = CertificateDer::from_pem_file(path).ok()?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).ok()?;
    let (from, to) = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
    let percent = 70 + i64::try_from(component_base::rng::range(0..20)).unwrap_or(0);
    let due = from + (to - from) / 100 * percent;
    Some(Duration::from_secs(u64::try_from(due - clock::now().as_second()).unwrap_or(0)))
}

/// Renews the certificate in time, again and again; `renewed` is called after each time. Returns only when the certificate has
/// run out: then nobody believes the node any more.
pub async fn rotate(
    client: &kube::Client,
    node: &str,
    dir: &Path,
    purpose: &Purpose,
    renewed: impl AsyncFn(),
) -> anyhow::Result<()> {
    let link = current(dir, purpose);
    tokio::select! {
        () = renew(client, node, dir, purpose, renewed) => Ok(()),
        () = until_expired(&link) => bail!("the certificate {} has expired", link.display()),
    }
}

async fn until_expired(link: &Path) {
    while is_valid(link) {
        tokio::time::sleep(RENEWAL_RETRY).await;
    }
}

async fn renew(client: &kube::Client, node: &str, dir: &Path, purpose: &Purpose, renewed: impl AsyncFn()) {
    let link = current(dir, purpose);
    loop {
        tokio::time::sleep(until_renewal(&link).unwrap_or(RENEWAL_RETRY)).await;
        tracing::info!(certificate = %link.display(), "renewing a certificate");
        let stored = match request(client, node, purpose).await {
            Ok((certificate, key)) => store(dir, purpose, &certificate, &key),
            Err(error) => Err(error),
        };
        match stored {
            Ok(_) => renewed().await,
            Err(error) => {
                tracing::warn!(error = %format!("{error:#}"), "could not renew a certificate");
                tokio::time::sleep(RENEWAL_RETRY).await;
            }
        }
    }
}

/// Gets a client certificate with the bootstrap credentials unless there is a valid one, and writes the kubeconfig that uses it.
pub async fn bootstrap(kubeconfig: &Path, bootstrap: &Path, dir: &Path, node: &str) -> anyhow::Result<()> {
    let file = current(dir, &Purpose::Client);
    if kubeconfig.exists() && is_valid(&file) {
        return Ok(());
    }
    tracing::info!("asking for a client certificate with the bootstrap credentials");
    let config = component_base::kubeconfig::load(bootstrap, "").await?;
    let client = component_base::kubeconfig::client(config, "kubelet")?;
    let (certificate, key) = request(&client, node, &Purpose::Client).await?;
    let file = store(dir, &Purpose::Client, &certificate, &key)?;
    write_kubeconfig(kubeconfig, bootstrap, &file)
}

/// Asks for a certificate and waits for it; certificate and key in PEM.
pub async fn request(client: &kube::Client, node: &str, purpose: &Purpose) -> anyhow::Result<(String, String)> {
    let key = KeyPair::generate().context("generate a key")?;
    let names = match purpose {
        Purpose::Client => Vec::new(),
        Purpose::Serving(names) => names.clone(),
    };
    let mut params = CertificateParams::new(names).context("names of the certificate")?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(DnType::CommonName, format!("system:node:{node}"));
    let pem = params.serialize_request(&key).and_then(|csr| csr.pem()).context("certificate signing request")?;
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    let wanted = CertificateSigningRequest {
        metadata: ObjectMeta { generate_name: Some("csr-".into()), ..ObjectMeta::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(pem.into_bytes()),
            signer_name: purpose.signer().into(),
            usages: Some(purpose.usages().map(str::to_owned).into()),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    };
    let params = PostParams::default();
    let created = retry(|| api.create(&params, &wanted)).await?;
    let name = created.metadata.name.context("the request has no name")?;
    let certificate = tokio::time::timeout(PATIENCE, wait(&api, &name));
    let certificate =
        certificate.await.with_context(|| format!("certificate signing request {name} was not answered"))??;
    Ok((certificate, key.serialize_pem()))
}

/// Tries until the API server answers; a refusal is an answer.
async fn retry<T, F: Future<Output = Result<T, kube::Error>>>(call: impl Fn() -> F) -> anyhow::Result<T> {
    loop {
        match call().await {
            Ok(value) => return Ok(value),
            // The server may still be setting up its roles: a refusal is tried again, too.
            Err(error) => tracing::warn!(%error, "certificate signing request not accepted yet"),
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn wait(api: &Api<CertificateSigningRequest>, name: &str) -> anyhow::Result<String> {
    loop {
        let found = retry(|| api.get(name)).await?;
        let status = found.status.unwrap_or_default();
        for condition in status.conditions.iter().flatten().filter(|condition| condition.status == "True") {
            if matches!(condition.type_.as_str(), "Denied" | "Failed") {
                let why = condition.message.as_deref().unwrap_or_default();
                bail!("certificate signing request {name} was {}: {why}", condition.type_.to_lowercase());
            }
        }
        if let Some(certificate) = status.certificate.filter(|bytes| !bytes.0.is_empty()) {
            return String::from_utf8(certificate.0).context("the certificate is not PEM");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Writes certificate and key into one dated file and points the link at it; the link's path.
pub fn store(dir: &Path, purpose: &Purpose, certificate: &str, key: &str) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let name = format!("{}-{}.pem", purpose.prefix(), clock::now().strftime("%Y-%m-%d-%H-%M-%S"));
    write_private(&dir.join(&name), &format!("{certificate}\n{key}"))?;
    let link = current(dir, purpose);
    let fresh = link.with_extension("pem.new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).context("replace a certificate");
        }
        _ => {}
    }
    symlink(&name, &fresh).and_then(|()| fs::rename(&fresh, &link)).context("point at the new certificate")?;
    Ok(link)
}

fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let opened = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    opened.and_then(|mut file| file.write_all(text.as_bytes())).with_context(|| format!("write {}", path.display()))
}

/// A kubeconfig for the cluster of the bootstrap kubeconfig, with the certificate.
fn write_kubeconfig(path: &Path, bootstrap: &Path, certificate: &Path) -> anyhow::Result<()> {
    let read = Kubeconfig::read_from(bootstrap).with_context(|| format!("read {}", bootstrap.display()))?;
    let context =
        read.current_context.as_ref().and_then(|name| read.contexts.iter().find(|context| context.name == *name));
    let cluster = context.and_then(|context| context.context.as_ref()).map(|context| context.cluster.clone());
    let cluster = read.clusters.iter().find(|found| cluster.as_ref().is_none_or(|name| found.name == *name));
    let cluster =
        cluster.and_then(|found| found.cluster.clone()).context("the bootstrap kubeconfig names no cluster")?;
    let file = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "default-cluster", "cluster": cluster}],
        "users": [{"name": "default-auth", "user": {"client-certificate": certificate, "client-key": certificate}}],
        "contexts": [{"name": "default-context", "context": {"cluster": "default-cluster", "namespace": "default", "user": "default-auth"}}],
        "current-context": "default-context",
    });
    write_private(path, &serde_yaml::to_string(&file).context("kubeconfig")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_is_due_before_the_end() {
        let dir = std::env::temp_dir().join(format!("kubelet-renewal-{}", std::process::id()));
        let mut params = CertificateParams::new(vec!["n".to_owned()]).unwrap();
        let now = clock::now().as_second();
        let at = |second: i64| {
            let time = api_types::k8s_openapi::jiff::Timestamp::from_second(second).unwrap();
            let date = time.to_zoned(api_types::k8s_openapi::jiff::tz::TimeZone::UTC).date();
            rcgen::date_time_ymd(date.year().into(), date.month() as u8, date.day() as u8)
        };
        params.not_before = at(now);
        params.not_after = at(now + 100 * 86400);
        let key = KeyPair::generate().unwrap();
        let link =
            store(&dir, &Purpose::Client, &params.self_signed(&key).unwrap().pem(), &key.serialize_pem()).unwrap();
        let days = until_renewal(&link).unwrap().as_secs() / 86400;
        assert!((68..=90).contains(&days), "{days}");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn the_link_leads_to_the_newest_pair() {
        let dir = std::env::temp_dir().join(format!("kubelet-certs-{}", std::process::id()));
        let signed = rcgen::generate_simple_self_signed(vec!["n".to_owned()]).unwrap();
        let (cert, key) = (signed.cert.pem(), signed.signing_key.serialize_pem());
        let link = store(&dir, &Purpose::Client, &cert, &key).unwrap();
        assert!(is_valid(&link));
        store(&dir, &Purpose::Client, "none", &key).unwrap();
        assert!(!is_valid(&link));
        fs::remove_dir_all(&dir).unwrap();
    }
}
