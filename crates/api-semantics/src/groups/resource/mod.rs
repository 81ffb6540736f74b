//! The group `resource.k8s.io`.

mod device_class;
mod device_taint_rule;
mod devices;
mod resource_claim;
mod resource_claim_template;
mod resource_pool_status_request;
mod resource_slice;
mod slices;

use serde_json::Value;

use crate::defaults::{each, ensure, set_zero, text, within};
use crate::kind::Kind;

/// Requests say how many devices they want; v1beta1 says it in the request itself, later versions under `exactly`.
fn claim_spec_defaults(spec: &mut Value) {
    let devices = ensure(spec, "devices");
    each(devices, "requests", |request| {
        within(request, "exactly", request_defaults);
        if request.get("deviceClassName").is_some() {
            request_defaults(request);
        }
        each(request, "firstAvailable", request_defaults);
    });
}

fn request_defaults(request: &mut Value) {
    set_zero(request, "allocationMode", "ExactCount");
    if text(request, "allocationMode") == "ExactCount" {
        set_zero(request, "count", 1);
    }
    each(request, "tolerations", |t| set_zero(t, "operator", "Equal"));
}

/// The kinds of the group, and the version that an entry is limited to.
pub(crate) static KINDS: &[(&str, Option<&str>, &Kind)] = &[
    ("DeviceClass", None, &device_class::KIND),
    ("DeviceTaintRule", None, &device_taint_rule::KIND),
    ("ResourceClaim", None, &resource_claim::KIND),
    ("ResourceClaimTemplate", None, &resource_claim_template::KIND),
    ("ResourcePoolStatusRequest", None, &resource_pool_status_request::KIND),
    ("ResourceSlice", None, &resource_slice::KIND),
];
