//! CEL selectors of devices.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use api_semantics::cel::{self, Results};
use api_types::k8s_openapi::api::resource::v1::{Device, DeviceAttribute, DeviceSelector};
use kube_cel::{Expression, Key, Value};
use parking_lot::Mutex;

use super::capacity::amount;

/// No more compiled expressions are kept than that.
const KEPT: usize = 1000;

/// Compiled selectors by their text.
#[derive(Default)]
pub(super) struct Compiled(Mutex<HashMap<String, Result<Expression, String>>>);

impl Compiled {
    fn get(&self, source: &str) -> Result<Expression, String> {
        let mut kept = self.0.lock();
        if let Some(known) = kept.get(source) {
            return known.clone();
        }
        if kept.len() >= KEPT {
            kept.clear();
        }
        let made = cel::compile(source, &cel::device(), &Results::truth());
        kept.insert(source.to_owned(), made.clone());
        made
    }

    /// Whether all the selectors take the device. `whose` is named in errors.
    ///
    /// # Errors
    /// Where an expression cannot be compiled or evaluated, in upstream's words.
    pub(super) fn all_match(
        &self,
        whose: &str,
        selectors: &[DeviceSelector],
        id: super::pools::DeviceId<'_>,
        device: &Device,
    ) -> Result<bool, String> {
        for (index, selector) in selectors.iter().enumerate() {
            let Some(selector) = &selector.cel else {
                return Err(format!("{whose}, selector #{index}: CEL expression empty (unsupported selector type?)"));
            };
            let expression = self.get(&selector.expression);
            let expression =
                expression.map_err(|error| format!("{whose}: selector #{index}: CEL compile error: {error}"))?;
            let scope = [("device", value(id.0, device))];
            match expression.evaluate(&scope[..]).0 {
                Ok(Value::Bool(true)) => {}
                Ok(_) => return Ok(false),
                Err(error) => {
                    let (driver, pool, name) = id;
                    let at = format!("{driver}/{pool}/{name}");
                    return Err(format!("{whose}: selector #{index} on device {at}: CEL runtime error: {error}"));
                }
            }
        }
        Ok(true)
    }
}

/// The device as expressions see it. Names without a domain are in the driver's; a domain that the device does not have is empty.
fn value(driver: &str, device: &Device) -> Value {
    let attributes = device.attributes.iter().flatten().filter_map(|(name, value)| Some((name, attribute(value)?)));
    let capacity = device.capacity.iter().flatten().map(|(name, c)| (name, Value::Quantity(amount(&c.value))));
    Value::map([
        ("driver".to_owned(), Value::from(driver)),
        ("attributes".to_owned(), by_domain(driver, attributes)),
        ("capacity".to_owned(), by_domain(driver, capacity)),
        ("allowMultipleAllocations".to_owned(), Value::from(device.allow_multiple_allocations == Some(true))),
    ])
}

fn by_domain<'a>(driver: &str, entries: impl Iterator<Item = (&'a String, Value)>) -> Value {
    let mut domains: BTreeMap<&str, BTreeMap<Key, Value>> = BTreeMap::new();
    for (name, value) in entries {
        let (domain, id) = name.split_once('/').unwrap_or((driver, name));
        domains.entry(domain).or_default().insert(Key::String(id.into()), value);
    }
    let domains =
        domains.into_iter().map(|(domain, fields)| (Key::String(domain.into()), Value::Map(Arc::new(fields))));
    Value::Defaulting(Arc::new(domains.collect()), Arc::new(Value::map([])))
}

fn attribute(value: &DeviceAttribute) -> Option<Value> {
    let int = value.int.map(Value::Int);
    let bool = value.bool.map(Value::Bool);
    let string = value.string.as_deref().map(Value::from);
    let version = value.version.as_deref().and_then(|v| v.parse().ok()).map(|v| Value::Semver(Arc::new(v)));
    int.or(bool).or(string).or(version)
}
