//! `extenders` of KubeSchedulerConfiguration.

use std::{collections::BTreeSet, path::Path, time::Duration};

use component_base::duration::parse_duration;
use serde::Deserialize;

use crate::{cache::resources, config::check::Problems};

/// How long an extender may take to answer, where nothing else is said.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// One extender.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct ExtenderConfig {
    /// Where it listens; verbs are appended.
    pub url_prefix: String,
    /// Filters nodes.
    pub filter_verb: String,
    /// Chooses among victims.
    pub preempt_verb: String,
    /// Scores nodes.
    pub prioritize_verb: String,
    /// What its scores weigh.
    pub weight: i64,
    /// Binds pods.
    pub bind_verb: String,
    /// Whether TLS is spoken; without a CA the server is not verified, as upstream.
    #[serde(rename = "enableHTTPS")]
    pub enable_https: bool,
    /// Keys and certificates.
    pub tls_config: Option<ExtenderTls>,
    /// How long a call may take.
    pub http_timeout: Option<String>,
    /// Whether it knows the nodes itself, so that names will do.
    pub node_cache_capable: bool,
    /// It is asked about pods that use one of these; about all where there are none.
    pub managed_resources: Vec<ManagedResource>,
    /// Whether scheduling goes on without it when it fails.
    pub ignorable: bool,
}

/// A resource that an extender looks after.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct ManagedResource {
    /// Its name.
    pub name: String,
    /// Whether NodeResourcesFit leaves it alone.
    pub ignored_by_scheduler: bool,
}

/// TLS towards an extender. Data are base64.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct ExtenderTls {
    insecure: bool,
    server_name: String,
    cert_file: String,
    key_file: String,
    ca_file: String,
    cert_data: String,
    key_data: String,
    ca_data: String,
}

impl std::fmt::Debug for ExtenderTls {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExtenderTls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// Notes what is wrong with the extenders.
pub(crate) fn check(extenders: &[ExtenderConfig], problems: &mut Problems) {
    let mut managed = BTreeSet::new();
    for (index, extender) in extenders.iter().enumerate() {
        let at = |field: &str| format!("extenders[{index}].{field}");
        if !extender.prioritize_verb.is_empty() && extender.weight <= 0 {
            problems.invalid(at("weight"), extender.weight, "must have a positive weight applied to it");
        }
        for (index, resource) in extender.managed_resources.iter().enumerate() {
            let at = at(&format!("managedResources[{index}].name"));
            let shown = format!("{:?}", resource.name);
            if !resources::is_extended(&resource.name) {
                problems.invalid(&at, &shown, "is an invalid extended resource name");
            }
            if !managed.insert(&resource.name) {
                problems.invalid(&at, &shown, "duplicate extender managed resource name");
            }
        }
        if let Err(why) = extender.timeout() {
            problems.invalid(at("httpTimeout"), format!("{:?}", extender.http_timeout), &why);
        }
    }
    let binders = extenders.iter().filter(|e| !e.bind_verb.is_empty()).count();
    if binders > 1 {
        let found = format!("\"found {binders} extenders implementing bind\"");
        problems.invalid("extenders", found, "only one extender can implement bind");
    }
}

impl ExtenderConfig {
    /// How long a call may take.
    pub(super) fn timeout(&self) -> Result<Duration, String> {
        let given = self.http_timeout.as_deref().filter(|text| !text.is_empty());
        let parsed = given.map(|text| parse_duration(text).map_err(|error| error.to_string())).transpose()?;
        Ok(parsed.filter(|timeout| !timeout.is_zero()).unwrap_or(DEFAULT_TIMEOUT))
    }

    /// The client's settings.
    pub(super) fn client(&self) -> Result<kube::Config, String> {
        let url = self.url_prefix.trim_end_matches('/').parse().map_err(|error| format!("urlPrefix: {error}"))?;
        let mut config = kube::Config::new(url);
        config.default_retry = false;
        let tls = self.tls_config.clone().unwrap_or_default();
        let ca = either("ca", &tls.ca_data, &tls.ca_file)?;
        config.accept_invalid_certs = tls.insecure || (self.enable_https && ca.is_none());
        config.root_cert = ca.map(|pem| certificates(&pem)).transpose()?;
        config.tls_server_name = Some(tls.server_name).filter(|name| !name.is_empty());
        let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        config.auth_info.client_certificate = given(&tls.cert_file);
        config.auth_info.client_certificate_data = given(&tls.cert_data);
        config.auth_info.client_key = given(&tls.key_file);
        config.auth_info.client_key_data = given(&tls.key_data).map(Into::into);
        Ok(config)
    }
}

/// The PEM text, from the data or else from the file.
fn either(what: &str, data: &str, file: &str) -> Result<Option<Vec<u8>>, String> {
    use base64::Engine as _;
    if !data.is_empty() {
        let decoded = base64::engine::general_purpose::STANDARD.decode(data);
        return decoded.map(Some).map_err(|error| format!("tlsConfig.{what}Data: {error}"));
    }
    if file.is_empty() {
        return Ok(None);
    }
    std::fs::read(Path::new(file)).map(Some).map_err(|error| format!("tlsConfig.{what}File: {file}: {error}"))
}

fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    use rustls_pki_types::{CertificateDer, pem::PemObject};
    let all = CertificateDer::pem_slice_iter(pem).map(|der| der.map(|der| der.to_vec())).collect::<Result<Vec<_>, _>>();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err("tlsConfig.ca: no certificate".to_owned()),
        Err(error) => Err(format!("tlsConfig.ca: {error}")),
    }
}
