//! What claims ask for, and what is taken already: the allocator's input beside the pools.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use api_types::k8s_openapi::api::resource::v1::{
    CapacityRequirements, DeviceClaimConfiguration, DeviceClass, DeviceConstraint, DeviceRequest, DeviceSelector,
    DeviceToleration, ResourceClaim,
};

use super::{
    capacity::{Consumed, amount, full_name},
    pools::DeviceId,
};
use crate::cache::catalog::Catalog;
pub(super) use crate::framework::claim_key as key;

/// A request, or one alternative of a request.
pub(super) struct Need<'a> {
    /// `name`, or `name/alternative`: as results and constraints name it.
    pub(super) name: Cow<'a, str>,
    pub(super) class: &'a DeviceClass,
    /// Every device that matches, rather than `count`.
    pub(super) all: bool,
    pub(super) count: usize,
    /// Looks at devices without taking them.
    pub(super) admin: bool,
    pub(super) selectors: &'a [DeviceSelector],
    pub(super) tolerations: &'a [DeviceToleration],
    pub(super) capacity: Option<&'a CapacityRequirements>,
}

/// A claim to allocate.
pub(super) struct ClaimNeeds<'a> {
    /// `namespace/name`.
    pub(super) key: String,
    pub(super) constraints: &'a [DeviceConstraint],
    pub(super) config: &'a [DeviceClaimConfiguration],
    /// The alternatives of each request, the best first; one where there is no choice.
    pub(super) requests: Vec<Vec<Need<'a>>>,
}

/// Why claims cannot be looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The pod waits for a change.
    Unschedulable(String),
    /// The attempt fails.
    Error(String),
}

impl<'a> ClaimNeeds<'a> {
    pub(super) fn new(claim: &'a ResourceClaim, catalog: &'a Catalog) -> Result<Self, Trouble> {
        let requests = claim.spec.devices.iter().flat_map(|d| d.requests.iter().flatten());
        let requests = requests.map(|request| alternatives(claim, request, catalog)).collect::<Result<_, _>>()?;
        let devices = claim.spec.devices.as_ref();
        Ok(ClaimNeeds {
            key: key(claim),
            constraints: devices.and_then(|d| d.constraints.as_deref()).unwrap_or_default(),
            config: devices.and_then(|d| d.config.as_deref()).unwrap_or_default(),
            requests,
        })
    }

    /// At least so many devices will be in the result.
    pub(super) fn at_least(&self) -> usize {
        self.requests.iter().map(|all| all.iter().map(|n| if n.all { 0 } else { n.count }).min().unwrap_or(0)).sum()
    }
}

fn alternatives<'a>(
    claim: &'a ResourceClaim,
    request: &'a DeviceRequest,
    catalog: &'a Catalog,
) -> Result<Vec<Need<'a>>, Trouble> {
    let class = |name: &str, request: &str| match catalog.device_classes.get(name) {
        Some(class) => Ok(&**class),
        None if name.is_empty() => Err(Trouble::Error(format!("request {request}: unsupported request type"))),
        None => Err(Trouble::Unschedulable(format!("request {request}: device class {name} does not exist"))),
    };
    let mode = |mode: Option<&str>, name: &str| match mode.unwrap_or("ExactCount") {
        "ExactCount" => Ok(false),
        "All" => Ok(true),
        other => Err(Trouble::Error(format!("claim {}, request {name}: unsupported count mode {other}", key(claim)))),
    };
    let count = |count: Option<i64>| usize::try_from(count.unwrap_or(1)).unwrap_or(1);
    if let Some(exactly) = &request.exactly {
        return Ok(vec![Need {
            name: Cow::Borrowed(&request.name),
            class: class(&exactly.device_class_name, &request.name)?,
            all: mode(exactly.allocation_mode.as_deref(), &request.name)?,
            count: count(exactly.count),
            admin: exactly.admin_access == Some(true),
            selectors: exactly.selectors.as_deref().unwrap_or_default(),
            tolerations: exactly.tolerations.as_deref().unwrap_or_default(),
            capacity: exactly.capacity.as_ref(),
        }]);
    }
    let options = request.first_available.as_deref().unwrap_or_default();
    if options.is_empty() {
        return Err(Trouble::Error(format!("request {}: unsupported request type", request.name)));
    }
    let option = |sub: &'a api_types::k8s_openapi::api::resource::v1::DeviceSubRequest| {
        let name = format!("{}/{}", request.name, sub.name);
        Ok(Need {
            class: class(&sub.device_class_name, &name)?,
            all: mode(sub.allocation_mode.as_deref(), &name)?,
            count: count(sub.count),
            admin: false,
            selectors: sub.selectors.as_deref().unwrap_or_default(),
            tolerations: sub.tolerations.as_deref().unwrap_or_default(),
            capacity: sub.capacity.as_ref(),
            name: Cow::Owned(name),
        })
    };
    options.iter().map(option).collect()
}

/// What allocated claims hold, those on their way to the API server included.
#[derive(Default)]
pub(super) struct Taken<'a> {
    /// Whole devices.
    pub(super) devices: BTreeSet<DeviceId<'a>>,
    /// Shares of devices.
    pub(super) shares: BTreeMap<DeviceId<'a>, Consumed>,
}

impl<'a> Taken<'a> {
    pub(super) fn new(catalog: &'a Catalog) -> Self {
        let mut taken = Taken::default();
        let settled = catalog.resource_claims.iter().filter(|(key, _)| !catalog.allocating.contains_key(*key));
        for (_, claim) in settled.chain(&catalog.allocating) {
            let allocation = claim.status.as_ref().and_then(|s| s.allocation.as_ref());
            let results = allocation.and_then(|a| a.devices.as_ref()).and_then(|d| d.results.as_deref());
            for result in results.into_iter().flatten().filter(|r| r.admin_access != Some(true)) {
                let id: DeviceId<'_> = (&result.driver, &result.pool, &result.device);
                if result.share_id.is_none() {
                    taken.devices.insert(id);
                    continue;
                }
                let share = taken.shares.entry(id).or_default();
                for (name, value) in result.consumed_capacity.iter().flatten() {
                    *share.entry(full_name(name, &result.driver)).or_default() += amount(value);
                }
            }
        }
        taken
    }

    pub(super) fn uses(&self, id: DeviceId<'_>) -> bool {
        self.devices.contains(&id) || self.shares.contains_key(&id)
    }
}
