//! ServiceCIDR: a range for service addresses.

use crate::checks::{cidr, immutable};
use crate::defaults::ensure;
use crate::field::{Errors, Field};
use crate::kind::{Kind, empty_status};
use crate::names;

pub(crate) static KIND: Kind = Kind {
    initial_status: Some(empty_status),
    default: |o| {
        ensure(o, "spec");
        ensure(o, "status");
    },
    validate,
    validate_change,
    ..Kind::CLUSTER
};

fn validate(range: &Field, errors: &mut Errors) {
    let cidrs = range.dig("spec.cidrs");
    if cidrs.is_empty() {
        errors.required(&cidrs, "at least one CIDR required");
    } else if cidrs.len() > 2 {
        errors.invalid(&cidrs, "may only hold up to 2 values");
    } else if cidrs.len() == 2 {
        let families: Vec<bool> =
            cidrs.items().filter_map(|c| names::cidr(c.str())).map(|(ip, _)| ip.is_ipv4()).collect();
        if families.len() == 2 && families[0] == families[1] {
            errors.invalid(
                &cidrs,
                "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
            );
        }
    }
    for range in cidrs.items() {
        cidr(&range, errors);
    }
}

fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    immutable(&new.dig("spec.cidrs"), &old.dig("spec.cidrs"), errors);
}
