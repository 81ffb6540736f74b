//! Whether and when a pod has to leave because of its devices. Pure.

use std::sync::Arc;

use api_types::k8s_openapi::{
    api::{
        core::v1::Pod,
        resource::v1::{DeviceRequestAllocationResult, DeviceTaint, ResourceClaim, ResourceSlice},
    },
    jiff::{SignedDuration, Timestamp},
};
use component_helpers::{pods as helpers, taints};

use crate::controllers::tainteviction::plan::Verdict;

/// The taints of a device: what the newest generation of its pool says.
pub(super) fn taints(slices: &[Arc<ResourceSlice>], device: &str) -> Vec<DeviceTaint> {
    let newest = slices.iter().map(|slice| slice.spec.pool.generation).max();
    let current = slices.iter().filter(|slice| Some(slice.spec.pool.generation) == newest);
    let devices = current.flat_map(|slice| slice.spec.devices.iter().flatten()).filter(|known| known.name == device);
    devices.flat_map(|device| device.taints.clone().unwrap_or_default()).collect()
}

/// What becomes of a pod that uses these claims.
pub(super) fn verdict(
    pod: &Pod,
    claims: &[Arc<ResourceClaim>],
    taints: impl Fn(&DeviceRequestAllocationResult) -> Vec<DeviceTaint>,
    now: Timestamp,
) -> Verdict {
    if !helpers::is_active(pod) || helpers::node_name(pod).is_none() {
        return Verdict::Stay;
    }
    let mut earliest: Option<Timestamp> = None;
    for allocation in claims.iter().filter_map(|claim| claim.status.as_ref()?.allocation.as_ref()) {
        // A taint without a time holds since the device was given away.
        let since = allocation.allocation_timestamp.as_ref().map_or(now, |time| time.0);
        for device in allocation.devices.iter().flat_map(|devices| devices.results.iter().flatten()) {
            let times = taints(device).into_iter().filter_map(|taint| leaves_at(device, &taint, since));
            earliest = earliest.into_iter().chain(times).min();
        }
    }
    let Some(at) = earliest else { return Verdict::Stay };
    match u64::try_from(at.as_second() - now.as_second()) {
        Ok(left) if left > 0 => Verdict::Later(left),
        _ => Verdict::Evict,
    }
}

/// When the users of a device have to leave for this taint; never where it is tolerated for good.
fn leaves_at(device: &DeviceRequestAllocationResult, taint: &DeviceTaint, since: Timestamp) -> Option<Timestamp> {
    if taint.effect != taints::NO_EXECUTE {
        return None;
    }
    let added = taint.time_added.as_ref().map_or(since, |time| time.0);
    let tolerating = device.tolerations.iter().flatten().filter(|t| taints::tolerates_device(t, taint));
    let tolerating: Vec<_> = tolerating.map(|toleration| toleration.toleration_seconds).collect();
    if tolerating.contains(&None) {
        return None;
    }
    let seconds = tolerating.into_iter().flatten().min().unwrap_or_default().max(0);
    Some(added.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(added))
}
