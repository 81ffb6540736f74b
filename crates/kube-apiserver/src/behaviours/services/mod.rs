//! Services get addresses and node ports from the cluster's ranges.

mod addresses;
mod ports;

use apiserver::{
    error::{Error, Result},
    meta,
    model::Behaviour,
};
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::{cell::CoreCell, config::Config, ip_range::IpRange};
use addresses::Addresses;
use ports::Ports;

pub(super) struct Services {
    addresses: Addresses,
    ports: Ports,
    ranges: Vec<IpRange>,
}

impl Services {
    pub(super) fn new(config: &Config, core: CoreCell) -> Self {
        Services {
            addresses: Addresses::new(config.service_ips.clone(), core.clone()),
            ports: Ports::new(config.node_ports, core),
            ranges: config.service_ips.clone(),
        }
    }

    /// Gives the service what it lacks and did not hold as `old`; what was taken comes back for the case that a later step fails.
    async fn allocate(&self, service: &mut Value, old: Option<&Value>, taken: &mut Taken, dry_run: bool) -> Result<()> {
        self.set_families(service);
        if wants_addresses(service) {
            let ips = self.addresses.allocate(service, dry_run, &mut taken.addresses).await?;
            let spec = meta::map_mut(service, "spec");
            spec.insert("clusterIP".to_owned(), ips.first().cloned().unwrap_or_default().into());
            spec.insert("clusterIPs".to_owned(), ips.into());
        } else if is_headless(service) {
            meta::map_mut(service, "spec").insert("clusterIPs".to_owned(), json!(["None"]));
        }
        self.ports.allocate(service, old, dry_run, &mut taken.ports).await
    }

    /// Which IP families, and how many.
    fn set_families(&self, service: &mut Value) {
        if service_type(service) == "ExternalName" {
            return;
        }
        let family = |range: &IpRange| if range.is_ipv6() { "IPv6" } else { "IPv4" };
        let any = is_headless(service) && !selects_pods(service);
        let spec = meta::map_mut(service, "spec");
        let default = if any { "RequireDualStack" } else { "SingleStack" };
        let policy = spec.get("ipFamilyPolicy").and_then(Value::as_str).unwrap_or(default).to_owned();
        let mut families = meta::strings(spec.get("ipFamilies"));
        let own = self.ranges.iter().map(family);
        // Whoever writes the endpoints of a headless service without selector may use every family.
        let all = own.chain(["IPv4", "IPv6"].into_iter().filter(|_| any));
        let wanted = match policy.as_str() {
            "SingleStack" => 1,
            _ if any => 2,
            _ => self.ranges.len(),
        };
        for family in all {
            if families.len() < wanted && !families.iter().any(|f| f == family) {
                families.push(family.to_owned());
            }
        }
        spec.insert("ipFamilyPolicy".to_owned(), policy.into());
        spec.insert("ipFamilies".to_owned(), families.into());
    }

    async fn give_back(&self, taken: &Taken, service: &Value) {
        for address in &taken.addresses {
            self.addresses.release(address, service).await;
        }
        self.ports.release(&taken.ports).await;
    }
}

/// What one request took from the ranges.
#[derive(Default)]
struct Taken {
    addresses: Vec<String>,
    ports: Vec<u16>,
}

#[async_trait]
impl Behaviour for Services {
    async fn begin_create(&self, service: &mut Value, dry_run: bool) -> Result<()> {
        let mut taken = Taken::default();
        let result = self.allocate(service, None, &mut taken, dry_run).await;
        if result.is_err() && !dry_run {
            self.give_back(&taken, service).await;
        }
        result
    }

    async fn begin_update(&self, new: &mut Value, old: &Value, dry_run: bool) -> Result<()> {
        if service_type(new) == "ExternalName" {
            let spec = meta::map_mut(new, "spec");
            for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                spec.remove(field);
            }
            return Ok(());
        }
        keep_allocated(new, old);
        let mut taken = Taken::default();
        let result = self.allocate(new, Some(old), &mut taken, dry_run).await;
        if result.is_err() && !dry_run {
            self.give_back(&taken, new).await;
        }
        result
    }

    async fn after_update(&self, new: &Value, old: &Value) {
        let kept = addresses_of(new);
        for address in addresses_of(old).iter().filter(|a| !kept.contains(a)) {
            self.addresses.release(address, old).await;
        }
        let kept = ports::of(new);
        let gone: Vec<u16> = ports::of(old).into_iter().filter(|p| !kept.contains(p)).collect();
        self.ports.release(&gone).await;
    }

    async fn release(&self, service: &Value) {
        let taken = Taken { addresses: addresses_of(service), ports: ports::of(service) };
        self.give_back(&taken, service).await;
    }
}

fn service_type(service: &Value) -> &str {
    service.pointer("/spec/type").and_then(Value::as_str).unwrap_or("ClusterIP")
}

fn is_headless(service: &Value) -> bool {
    service.pointer("/spec/clusterIP").and_then(Value::as_str) == Some("None")
}

fn selects_pods(service: &Value) -> bool {
    service.pointer("/spec/selector").and_then(Value::as_object).is_some_and(|s| !s.is_empty())
}

fn wants_addresses(service: &Value) -> bool {
    service_type(service) != "ExternalName" && !is_headless(service)
}

/// The addresses that a service holds.
fn addresses_of(service: &Value) -> Vec<String> {
    let mut list = meta::strings(service.pointer("/spec/clusterIPs"));
    list.retain(|a| a != "None" && !a.is_empty());
    list
}

/// An update that does not mention what was allocated keeps it.
fn keep_allocated(new: &mut Value, old: &Value) {
    if service_type(old) == "ExternalName" {
        return;
    }
    let spec = meta::map_mut(new, "spec");
    let old_spec = old.get("spec").cloned().unwrap_or_default();
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        let absent = spec.get(field).is_none_or(|v| v.is_null() || v.as_str() == Some(""));
        if let (true, Some(value)) = (absent, old_spec.get(field)) {
            spec.insert(field.to_owned(), value.clone());
        }
    }
    ports::keep(new, old);
}

/// 422 on one field of a service.
fn invalid(service: &Value, field: &str, shown: &str, why: &str) -> Error {
    let mut path = api_types::Path::default();
    for name in field.split('.') {
        path = path.child(name);
    }
    let mut error = api_types::FieldError::invalid(&path, "", why);
    error.message = format!("Invalid value: {shown}: {why}");
    Error::invalid("", "Service", meta::name(service), &[error])
}
