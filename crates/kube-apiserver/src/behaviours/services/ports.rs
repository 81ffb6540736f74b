//! Node ports: one bitmap in the store (upstream's `RangeAllocation`), changed by compare-and-swap.

use apiserver::{
    codec,
    error::{Error, Result, from_store},
    meta,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use storage::{Revision, StoreError};

use super::{invalid, service_type};
use crate::cell::CoreCell;

const KEY: &str = "/registry/ranges/servicenodeports";
const DRAWS: usize = 32;

pub(super) struct Ports {
    first: u16,
    last: u16,
    core: CoreCell,
}

/// The ports that are taken: bit `i` is the port `first + i`.
struct Bitmap {
    bytes: Vec<u8>,
    revision: Revision,
}

impl Bitmap {
    fn is_set(&self, offset: u16) -> bool {
        let (byte, bit) = self.place(offset);
        self.bytes.get(byte).is_some_and(|b| b & bit != 0)
    }

    fn set(&mut self, offset: u16, value: bool) {
        let (byte, bit) = self.place(offset);
        if let Some(slot) = self.bytes.get_mut(byte) {
            if value { *slot |= bit } else { *slot &= !bit }
        }
    }

    /// The number is big-endian: its last byte holds the first eight ports.
    fn place(&self, offset: u16) -> (usize, u8) {
        let from_end = usize::from(offset / 8);
        (self.bytes.len().wrapping_sub(1 + from_end), 1 << (offset % 8))
    }
}

impl Ports {
    pub(super) fn new((first, last): (u16, u16), core: CoreCell) -> Self {
        Ports { first, last, core }
    }

    /// Takes the ports that the service names and does not hold yet, as `old` (`taken` lists what it took), and finds those it lacks.
    pub(super) async fn allocate(
        &self,
        service: &mut Value,
        old: Option<&Value>,
        dry_run: bool,
        taken: &mut Vec<u16>,
    ) -> Result<()> {
        if !wants_ports(service) {
            clear(service);
            return Ok(());
        }
        let held = old.map(of).unwrap_or_default();
        loop {
            let mut bitmap = self.read().await?;
            let (changed, new) = self.plan(service, &held, &mut bitmap, dry_run)?;
            let unchanged = new.is_empty();
            if dry_run || unchanged || self.write(&bitmap).await? {
                *service = changed;
                taken.extend(new);
                return Ok(());
            }
        }
    }

    /// The service with all its ports, and which of them are new. `bitmap` gets them.
    fn plan(&self, service: &Value, held: &[u16], bitmap: &mut Bitmap, dry_run: bool) -> Result<(Value, Vec<u16>)> {
        let mut service = service.clone();
        let mut new: Vec<(u16, String)> = Vec::new();
        let count = service.pointer("/spec/ports").and_then(Value::as_array).map_or(0, Vec::len);
        for i in 0..count {
            let at = format!("/spec/ports/{i}");
            let port = service.pointer(&at).cloned().unwrap_or_default();
            let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP").to_owned();
            let given = port.get("nodePort").and_then(Value::as_i64).filter(|p| *p != 0);
            let number = match given.map(|given| (given, u16::try_from(given))) {
                // Upstream does not look at the range on dry runs.
                Some((_, Err(_))) if dry_run => continue,
                Some((given, Err(_))) => return Err(self.out_of_range(&service, i, given)),
                Some((_, Ok(given))) => {
                    // One number serves two protocols of the same service.
                    let shared = new.iter().any(|(p, other)| *p == given && *other != protocol);
                    // Upstream does not look at the range on dry runs.
                    let skipped = dry_run && !(self.first..=self.last).contains(&given);
                    if !held.contains(&given) && !shared && !skipped {
                        self.take(&service, i, given, bitmap)?;
                        new.push((given, protocol));
                    }
                    given
                }
                None => {
                    let found = self.find(bitmap)?;
                    bitmap.set(found - self.first, true);
                    new.push((found, protocol));
                    found
                }
            };
            if let Some(Value::Object(port)) = service.pointer_mut(&at) {
                port.insert("nodePort".to_owned(), number.into());
            }
        }
        if wants_health_port(&service) && health_port(&service).is_none() {
            let found = self.find(bitmap)?;
            bitmap.set(found - self.first, true);
            new.push((found, String::new()));
            meta::map_mut(&mut service, "spec").insert("healthCheckNodePort".to_owned(), found.into());
        }
        Ok((service, new.into_iter().map(|(p, _)| p).collect()))
    }

    fn take(&self, service: &Value, index: usize, port: u16, bitmap: &mut Bitmap) -> Result<()> {
        if port < self.first || port > self.last {
            return Err(self.out_of_range(service, index, port.into()));
        }
        let field = format!("spec.ports[{index}].nodePort");
        if bitmap.is_set(port - self.first) {
            return Err(invalid(service, &field, &port.to_string(), "provided port is already allocated"));
        }
        bitmap.set(port - self.first, true);
        Ok(())
    }

    fn out_of_range(&self, service: &Value, index: usize, port: i64) -> Error {
        let field = format!("spec.ports[{index}].nodePort");
        let (first, last) = (self.first, self.last);
        let why = format!("provided port is not in the valid range. The range of valid ports is {first}-{last}");
        invalid(service, &field, &port.to_string(), &why)
    }

    fn find(&self, bitmap: &Bitmap) -> Result<u16> {
        let size = self.last - self.first + 1;
        // The lower part is left for ports that users choose themselves.
        let band = (size / 32).clamp(16, 128).min(size - 1);
        let upper = u64::from(size - band);
        let drawn = (0..DRAWS).map(|_| band + u16::try_from(component_base::rng::range(0..upper)).unwrap_or(0));
        let mut candidates = drawn.chain(band..size).chain(0..band);
        let offset = candidates.find(|offset| !bitmap.is_set(*offset));
        offset.map(|o| self.first + o).ok_or_else(|| Error::internal("failed to allocate a nodePort: range is full"))
    }

    pub(super) async fn release(&self, ports: &[u16]) {
        if ports.is_empty() {
            return;
        }
        let released = async {
            loop {
                let mut bitmap = self.read().await?;
                for port in ports.iter().filter(|p| (self.first..=self.last).contains(p)) {
                    bitmap.set(port - self.first, false);
                }
                if self.write(&bitmap).await? {
                    return Ok::<(), Error>(());
                }
            }
        };
        if let Err(error) = released.await {
            tracing::warn!(?ports, %error, "node ports were not given back");
        }
    }

    async fn read(&self) -> Result<Bitmap> {
        let core = self.core.core()?;
        let format = core.catalog.format("", "v1", "RangeAllocation").ok_or_else(Error::no_such_path)?;
        let (kv, _) = core.registry.store.get(KEY).await.map_err(|e| from_store(&e))?;
        let size = usize::from((self.last - self.first) / 8 + 1);
        let Some(kv) = kv else { return Ok(Bitmap { bytes: vec![0; size], revision: Revision(0) }) };
        let (object, _) = codec::decode_stored(&kv.value, &[format], 0)?;
        let data = object.get("data").and_then(Value::as_str).unwrap_or_default();
        let mut bytes = STANDARD.decode(data).map_err(Error::internal)?;
        while bytes.len() < size {
            bytes.insert(0, 0);
        }
        Ok(Bitmap { bytes, revision: kv.mod_revision })
    }

    /// Whether nobody else wrote in between.
    async fn write(&self, bitmap: &Bitmap) -> Result<bool> {
        let core = self.core.core()?;
        let format = core.catalog.format("", "v1", "RangeAllocation").ok_or_else(Error::no_such_path)?;
        let significant = bitmap.bytes.iter().position(|b| *b != 0).unwrap_or(bitmap.bytes.len());
        let mut object = json!({
            "metadata": {},
            "range": format!("{}-{}", self.first, self.last),
            "data": STANDARD.encode(&bitmap.bytes[significant..]),
        });
        format.stamp(&mut object);
        let bytes = codec::encode_stored(&format, &object)?;
        match core.registry.store.put(KEY, bytes, bitmap.revision, None).await {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict { .. }) => Ok(false),
            Err(e) => Err(from_store(&e)),
        }
    }
}

fn wants_ports(service: &Value) -> bool {
    match service_type(service) {
        "NodePort" => true,
        "LoadBalancer" => {
            let no = Some(false);
            service.pointer("/spec/allocateLoadBalancerNodePorts").and_then(Value::as_bool) != no
                || !of(service).is_empty()
        }
        _ => false,
    }
}

fn wants_health_port(service: &Value) -> bool {
    service_type(service) == "LoadBalancer"
        && service.pointer("/spec/externalTrafficPolicy").and_then(Value::as_str) == Some("Local")
}

fn health_port(service: &Value) -> Option<u16> {
    let port = service.pointer("/spec/healthCheckNodePort").and_then(Value::as_u64)?;
    u16::try_from(port).ok().filter(|p| *p > 0)
}

/// The node ports of a service.
pub(super) fn of(service: &Value) -> Vec<u16> {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten();
    let numbers = ports.filter_map(|p| p.get("nodePort").and_then(Value::as_u64));
    let numbers = numbers.filter_map(|p| u16::try_from(p).ok()).filter(|p| *p > 0);
    let mut list: Vec<u16> = numbers.chain(health_port(service)).collect();
    list.sort_unstable();
    list.dedup();
    list
}

/// Takes node ports out of a service that has no use for them.
fn clear(service: &mut Value) {
    let ports = service.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
        port.remove("nodePort");
    }
    if let Some(Value::Object(spec)) = service.get_mut("spec") {
        spec.remove("healthCheckNodePort");
    }
}

/// Ports that an update does not mention keep their node ports.
pub(super) fn keep(new: &mut Value, old: &Value) {
    if !wants_ports(new) || !wants_ports(old) {
        return;
    }
    let old_ports = old.pointer("/spec/ports").and_then(Value::as_array).cloned().unwrap_or_default();
    let used = of(new);
    let ports = new.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten() {
        let same = |o: &&Value| o.get("port") == port.get("port") && o.get("protocol") == port.get("protocol");
        let absent = port.get("nodePort").and_then(Value::as_i64).unwrap_or(0) == 0;
        let number = old_ports.iter().find(same).and_then(|o| o.get("nodePort")).and_then(Value::as_u64);
        let free = number.and_then(|n| u16::try_from(n).ok()).filter(|n| !used.contains(n));
        if let (true, Some(number), Value::Object(port)) = (absent, free, port) {
            port.insert("nodePort".to_owned(), number.into());
        }
    }
    if wants_health_port(new)
        && health_port(new).is_none()
        && let Some(port) = health_port(old)
    {
        meta::map_mut(new, "spec").insert("healthCheckNodePort".to_owned(), port.into());
    }
}
