//! What devices are divided by: capacities that several claims may consume, and the counters that partitions of a device share.

use std::collections::BTreeMap;

use api_types::{
    k8s_openapi::{
        api::resource::v1::{CapacityRequestPolicy, CapacityRequirements, Device, DeviceCapacity},
        apimachinery::pkg::api::resource::Quantity as Written,
    },
    quantity::Quantity,
};

use super::pools::Pool;

/// Amounts by the capacity's name in full.
pub(super) type Consumed = BTreeMap<String, Quantity>;

/// Counters by set and name.
pub(super) type Counters<'a> = BTreeMap<(&'a str, &'a str), Quantity>;

/// Stored objects are valid; what cannot be read counts nothing.
pub(super) fn amount(quantity: &Written) -> Quantity {
    quantity.0.parse().unwrap_or(Quantity::ZERO)
}

/// A capacity's name with the driver as the domain where it has none.
pub(super) fn full_name(name: &str, driver: &str) -> String {
    if name.contains('/') { name.to_owned() } else { format!("{driver}/{name}") }
}

/// What the request would consume of the device, by the names that the device uses; `None` where the device cannot give it, `used` being
/// consumed already.
pub(super) fn consumption(
    device: &Device,
    driver: &str,
    request: Option<&CapacityRequirements>,
    used: &[&Consumed],
) -> Option<BTreeMap<String, Quantity>> {
    let empty = BTreeMap::new();
    let offered = device.capacity.as_ref().unwrap_or(&empty);
    let wanted = request.and_then(|r| r.requests.as_ref());
    let wanted: BTreeMap<String, Quantity> =
        wanted.into_iter().flatten().map(|(name, value)| (full_name(name, driver), amount(value))).collect();
    let known: BTreeMap<String, &String> = offered.keys().map(|name| (full_name(name, driver), name)).collect();
    if wanted.keys().any(|name| !known.contains_key(name)) {
        return None;
    }
    let mut taken = BTreeMap::new();
    for (name, capacity) in offered {
        let full = full_name(name, driver);
        let share = rounded(wanted.get(&full), capacity);
        let before = used.iter().filter_map(|used| used.get(&full)).fold(Quantity::ZERO, |sum, more| sum + *more);
        if breaks(share, capacity.request_policy.as_ref()) || share + before > amount(&capacity.value) {
            return None;
        }
        taken.insert(name.clone(), share);
    }
    Some(taken)
}

/// What a request for that much takes: the policy's default where nothing is said, else rounded up as the policy says.
fn rounded(wanted: Option<&Quantity>, capacity: &DeviceCapacity) -> Quantity {
    let policy = capacity.request_policy.as_ref();
    let Some(wanted) = wanted else {
        return policy.and_then(|p| p.default.as_ref()).map_or_else(|| amount(&capacity.value), amount);
    };
    if let Some(range) = policy.and_then(|p| p.valid_range.as_ref()) {
        let min = amount(&range.min);
        return match range.step.as_ref().map(amount) {
            _ if *wanted < min => min,
            Some(step) if step.value() > 0 => {
                let over = wanted.value().saturating_sub(min.value());
                let steps = over / step.value() + i64::from(over % step.value() != 0);
                Quantity::from_units(min.value().saturating_add(step.value().saturating_mul(steps)), step.format())
            }
            _ => *wanted,
        };
    }
    let values = policy.and_then(|p| p.valid_values.as_ref());
    values.into_iter().flatten().map(amount).find(|value| wanted <= value).unwrap_or(*wanted)
}

/// Whether the policy forbids to consume that much.
fn breaks(share: Quantity, policy: Option<&CapacityRequestPolicy>) -> bool {
    let Some(policy) = policy else { return false };
    if policy.default.as_ref().map(amount) == Some(share) {
        return false;
    }
    if let Some(range) = &policy.valid_range {
        let (min, step) = (amount(&range.min), range.step.as_ref().map(amount).filter(|step| step.value() > 0));
        let off_step = step.is_some_and(|step| (share.value() - min.value()) % step.value() != 0);
        return range.max.as_ref().is_some_and(|max| share > amount(max)) || off_step;
    }
    let values = policy.valid_values.as_deref().unwrap_or_default();
    !values.is_empty() && values.iter().all(|value| amount(value) != share)
}

/// What the device takes of its pool's counters.
pub(super) fn counters(device: &Device) -> Counters<'_> {
    let sets = device.consumes_counters.iter().flatten();
    sets.flat_map(|set| {
        let counters = set.counters.iter();
        counters.map(|(name, counter)| ((set.counter_set.as_str(), name.as_str()), amount(&counter.value)))
    })
    .collect()
}

/// What is left of a pool's counters besides the devices that are in use.
pub(super) fn counters_left<'a>(pool: &Pool<'a>, is_used: impl Fn(&Device) -> bool) -> Counters<'a> {
    let sets = pool.slices.iter().flat_map(|slice| slice.shared_counters.iter().flatten());
    let mut left: Counters<'a> = sets
        .flat_map(|set| set.counters.iter().map(|(name, c)| ((set.name.as_str(), name.as_str()), amount(&c.value))))
        .collect();
    let devices = pool.slices.iter().flat_map(|slice| slice.devices.iter().flatten());
    for device in devices.filter(|device| is_used(device)) {
        for (counter, taken) in counters(device) {
            left.entry(counter).and_modify(|value| *value -= taken);
        }
    }
    left
}
