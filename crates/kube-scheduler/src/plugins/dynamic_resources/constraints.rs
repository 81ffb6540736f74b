//! Constraints over the devices of one claim: an attribute that all of them share, or that no two of them share.

use std::collections::BTreeMap;

use api_types::k8s_openapi::api::resource::v1::{Device, DeviceAttribute, DeviceConstraint};

use super::pools::Candidate;

/// A constraint and the devices that were chosen under it.
pub(super) struct Constraint<'a> {
    requests: &'a [String],
    attribute: &'a str,
    kind: Kind<'a>,
}

enum Kind<'a> {
    /// The first device's value, and how many devices have it.
    Same(Option<&'a DeviceAttribute>, usize),
    /// The values that are taken, as text.
    Distinct(BTreeMap<String, usize>),
}

impl<'a> Constraint<'a> {
    /// A constraint without devices; `None` for one of a kind that is not known.
    pub(super) fn new(of: &'a DeviceConstraint) -> Option<Self> {
        let requests = of.requests.as_deref().unwrap_or_default();
        match (of.match_attribute.as_deref(), of.distinct_attribute.as_deref()) {
            (Some(attribute), _) => Some(Constraint { requests, attribute, kind: Kind::Same(None, 0) }),
            (None, Some(attribute)) => Some(Constraint { requests, attribute, kind: Kind::Distinct(BTreeMap::new()) }),
            (None, None) => None,
        }
    }

    /// Whether the constraint is about the request (`name`, or `name/alternative`).
    fn applies(&self, request: &str) -> bool {
        let base = request.split_once('/').map_or(request, |(base, _)| base);
        self.requests.is_empty() || self.requests.iter().any(|r| r == request || r == base)
    }

    /// Takes the device in; false where it breaks the constraint.
    pub(super) fn add(&mut self, request: &str, candidate: &Candidate<'a>) -> bool {
        if !self.applies(request) {
            return true;
        }
        let Some(value) = attribute(candidate.device, &candidate.slice.driver, self.attribute) else { return false };
        match &mut self.kind {
            Kind::Same(shared, count) => {
                if *count > 0 && text(value).is_none_or(|value| shared.and_then(text) != Some(value)) {
                    return false;
                }
                if *count == 0 {
                    *shared = Some(value);
                }
                *count += 1;
                true
            }
            Kind::Distinct(taken) => {
                let Some(value) = text(value).filter(|value| !taken.contains_key(value)) else { return false };
                taken.insert(value, 1);
                true
            }
        }
    }

    /// Gives up a device that was taken in.
    pub(super) fn remove(&mut self, request: &str, candidate: &Candidate<'a>) {
        if !self.applies(request) {
            return;
        }
        match &mut self.kind {
            Kind::Same(_, count) => *count -= 1,
            Kind::Distinct(taken) => {
                let value = attribute(candidate.device, &candidate.slice.driver, self.attribute).and_then(text);
                value.map(|value| taken.remove(&value));
            }
        }
    }
}

/// A device's attribute by its full name (`domain/name`). Attributes without a domain are in the driver's.
fn attribute<'a>(device: &'a Device, driver: &str, name: &str) -> Option<&'a DeviceAttribute> {
    let attributes = device.attributes.as_ref()?;
    attributes.get(name).or_else(|| {
        let (domain, short) = name.split_once('/')?;
        attributes.get(short).filter(|_| domain == driver)
    })
}

/// The value with its type, so that values of different types differ.
fn text(value: &DeviceAttribute) -> Option<String> {
    let string = value.string.as_ref().map(|v| format!("string {v}"));
    let int = value.int.map(|v| format!("int {v}"));
    let bool = value.bool.map(|v| format!("bool {v}"));
    let version = value.version.as_ref().map(|v| format!("version {v}"));
    string.or(int).or(bool).or(version)
}
