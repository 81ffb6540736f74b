//! Cluster addresses. An address is taken by creating the `IPAddress` object of its name: the store lets one win.

use std::net::IpAddr;

use apiserver::{
    error::{Error, Result},
    meta,
    options::DeleteOptions,
    registry::Writer,
};
use serde_json::{Value, json};

use super::invalid;
use crate::{cell::CoreCell, ip_range::IpRange};

const GROUP: &str = "networking.k8s.io";
/// Random draws before the range is searched from its start.
const DRAWS: usize = 32;

pub(super) struct Addresses {
    /// The ranges of the flags; `ServiceCIDR` objects add to them.
    ranges: Vec<IpRange>,
    core: CoreCell,
}

impl Addresses {
    pub(super) fn new(ranges: Vec<IpRange>, core: CoreCell) -> Self {
        Addresses { ranges, core }
    }

    /// The service's addresses, in the order of its families; those that it does not hold yet are taken.
    pub(super) async fn allocate(
        &self,
        service: &Value,
        dry_run: bool,
        taken: &mut Vec<String>,
    ) -> Result<Vec<String>> {
        let mut named = meta::strings(service.pointer("/spec/clusterIPs"));
        if named.is_empty() {
            named.extend(service.pointer("/spec/clusterIP").and_then(Value::as_str).map(str::to_owned));
        }
        named.retain(|ip| !ip.is_empty());
        let mut out = Vec::new();
        for family in meta::strings(service.pointer("/spec/ipFamilies")) {
            let ipv6 = family == "IPv6";
            let ranges = self.ranges_of(ipv6)?;
            if ranges.is_empty() {
                let why = format!("{family} is not configured for cluster");
                return Err(invalid(service, "spec.ipFamilies[0]", &format!("{family:?}"), &why));
            }
            let given = named.iter().find(|ip| ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6() == ipv6));
            let address = match given {
                Some(given) => self.take_named(service, &ranges, given, dry_run, taken).await?,
                None => self.take_any(service, &ranges, dry_run, taken).await?,
            };
            out.push(address);
        }
        Ok(out)
    }

    /// The ranges of a family: those of the flags, and those of other `ServiceCIDR`s that are ready and stay.
    fn ranges_of(&self, ipv6: bool) -> Result<Vec<IpRange>> {
        let mut ranges = self.ranges.clone();
        for object in self.core.list(GROUP, "servicecidrs", "")? {
            if !is_ready(&object) || meta::is_terminating(&object) {
                continue;
            }
            let parsed =
                meta::strings(object.pointer("/spec/cidrs")).into_iter().filter_map(|text| IpRange::parse(&text));
            for range in parsed {
                if !ranges.contains(&range) {
                    ranges.push(range);
                }
            }
        }
        ranges.retain(|range| range.is_ipv6() == ipv6);
        Ok(ranges)
    }

    async fn take_named(
        &self,
        service: &Value,
        ranges: &[IpRange],
        given: &str,
        dry_run: bool,
        taken: &mut Vec<String>,
    ) -> Result<String> {
        let refuse = |why: &str| {
            let shown = json!([given]).to_string();
            invalid(service, "spec.clusterIPs", &shown, &format!("failed to allocate IP {given}: {why}"))
        };
        let address: IpAddr = given.parse().map_err(|_| refuse("not a valid IP"))?;
        let name = address.to_string();
        if let Some(holder) = self.core.find(GROUP, "ipaddresses", "", &name).await? {
            // Another service of this name holds it: the creation will fail, and must not give that one's address back.
            let (namespace, own_name) = (meta::namespace(service), meta::name(service));
            let present = self.core.cached("", "services", namespace, own_name)?;
            let own = present.is_none_or(|p| meta::uid(&p) == meta::uid(service));
            let kept = own && holds(&holder, service);
            return if kept { Ok(name) } else { Err(refuse("provided IP is already allocated")) };
        }
        if !ranges.iter().any(|range| range.contains(address)) {
            let range = ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let why = format!("the provided IP ({given}) is not in the valid range. The range of valid IPs is {range}");
            return Err(refuse(&why));
        }
        if dry_run || self.take(&name, service).await? {
            taken.push(name.clone());
            return Ok(name);
        }
        Err(refuse("provided IP is already allocated"))
    }

    async fn take_any(
        &self,
        service: &Value,
        ranges: &[IpRange],
        dry_run: bool,
        taken: &mut Vec<String>,
    ) -> Result<String> {
        for range in ranges {
            if let Some(address) = self.take_in(service, range, dry_run, taken).await? {
                return Ok(address);
            }
        }
        Err(Error::internal("failed to allocate a serviceIP: range is full"))
    }

    /// Any free address of the range; `None` when it is full.
    async fn take_in(
        &self,
        service: &Value,
        range: &IpRange,
        dry_run: bool,
        taken: &mut Vec<String>,
    ) -> Result<Option<String>> {
        let usable = range.usable();
        // The lower part is left for addresses that users choose themselves.
        let band = (usable / 16).clamp(16, 256).min(usable.saturating_sub(1));
        let upper = u64::try_from(usable - band).unwrap_or(u64::MAX);
        let drawn = (0..DRAWS).map(|_| band + 1 + u128::from(component_base::rng::range(0..upper.max(1))));
        let candidates = drawn.chain(band + 1..=usable).chain(1..=band);
        for index in candidates.take(usize::try_from(usable).unwrap_or(usize::MAX).saturating_add(DRAWS)) {
            let name = range.nth(index).to_string();
            if self.core.cached(GROUP, "ipaddresses", "", &name)?.is_some() {
                continue;
            }
            if dry_run || self.take(&name, service).await? {
                taken.push(name.clone());
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Whether the address could be had.
    async fn take(&self, name: &str, service: &Value) -> Result<bool> {
        let resource = self.core.resource(GROUP, "ipaddresses")?;
        let family = if name.contains(':') { "IPv6" } else { "IPv4" };
        let mut object = json!({
            "metadata": { "name": name, "labels": {
                "ipaddress.kubernetes.io/ip-family": family,
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            } },
            "spec": { "parentRef": {
                "group": "", "resource": "services", "namespace": meta::namespace(service), "name": meta::name(service),
            } },
        });
        resource.format.stamp(&mut object);
        match self.core.core()?.registry.create(&resource, "", object, &Writer::system()).await {
            Ok(_) => Ok(true),
            Err(e) if e.reason == "AlreadyExists" => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Gives an address back, if it is this service's.
    pub(super) async fn release(&self, name: &str, service: &Value) {
        let released = async {
            let resource = self.core.resource(GROUP, "ipaddresses")?;
            let registry = &self.core.core()?.registry;
            let holder = registry.get_value(&resource, "", name).await?;
            if holds(&holder, service) {
                let options = DeleteOptions { uid: Some(meta::uid(&holder).to_owned()), ..DeleteOptions::default() };
                registry.delete(&resource, "", name, &options, &Writer::system()).await?;
            }
            Ok::<(), Error>(())
        };
        if let Err(error) = released.await
            && !error.is_not_found()
        {
            tracing::warn!(address = name, %error, "service address was not given back");
        }
    }
}

fn is_ready(range: &Value) -> bool {
    let conditions = range.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

fn holds(address: &Value, service: &Value) -> bool {
    let parent = |field: &str| meta::path_text(address, &format!("spec.parentRef.{field}"));
    parent("resource") == "services"
        && parent("namespace") == meta::namespace(service)
        && parent("name") == meta::name(service)
}
