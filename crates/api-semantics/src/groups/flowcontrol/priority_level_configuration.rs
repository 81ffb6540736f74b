//! PriorityLevelConfiguration: how much of the server a class of requests may use.

use serde_json::Value;

use crate::defaults::{ensure, set, set_zero, within};
use crate::field::{Errors, Field};
use crate::kind::{Kind, empty_status};

pub(crate) static KIND: Kind = Kind {
    generation: true,
    initial_status: Some(empty_status),
    status_keeps_metadata: true,
    default,
    validate,
    ..Kind::CLUSTER
};

fn default(level: &mut Value) {
    ensure(level, "status");
    let spec = ensure(level, "spec");
    if spec["type"] == "Exempt" {
        let exempt = ensure(spec, "exempt");
        set(exempt, "nominalConcurrencyShares", 0);
        set(exempt, "lendablePercent", 0);
    }
    within(spec, "limited", |limited| {
        set(limited, "nominalConcurrencyShares", 30);
        set(limited, "lendablePercent", 0);
        let response = ensure(limited, "limitResponse");
        within(response, "queuing", |q| {
            set_zero(q, "queues", 64);
            set_zero(q, "handSize", 8);
            set_zero(q, "queueLengthLimit", 50);
        });
    });
}

fn validate(level: &Field, errors: &mut Errors) {
    let spec = level.get("spec");
    let kind = spec.get("type");
    let (limited, exempt) = (spec.get("limited"), spec.get("exempt"));
    match kind.str() {
        "Exempt" => {
            if limited.exists() {
                errors.forbidden(&limited, "must be nil if the type is not Limited");
            }
            if exempt.exists() {
                shares(&exempt, errors);
            }
        }
        "Limited" => {
            if exempt.exists() {
                errors.forbidden(&exempt, "must be nil if the type is Limited");
            }
            if limited.exists() {
                one_limited(&limited, errors);
            } else {
                errors.required(&limited, "must not be empty when type is Limited");
            }
        }
        _ => errors.not_supported(&kind, &["Exempt", "Limited"]),
    }
}

fn shares(part: &Field, errors: &mut Errors) {
    let own = part.get("nominalConcurrencyShares");
    if own.int_or_zero() < 0 {
        errors.invalid(&own, "must be a non-negative integer");
    }
    let lendable = part.get("lendablePercent");
    if lendable.exists() {
        crate::checks::in_range(&lendable, 0, 100, errors);
    }
}

fn one_limited(limited: &Field, errors: &mut Errors) {
    shares(limited, errors);
    let borrowing = limited.get("borrowingLimitPercent");
    if borrowing.int_or_zero() < 0 {
        errors.invalid(&borrowing, "if specified, must be a non-negative integer");
    }
    let response = limited.get("limitResponse");
    let queuing = response.get("queuing");
    match response.str_of("type") {
        "Reject" => {
            if queuing.exists() {
                errors.forbidden(&queuing, "must be nil if limited.limitResponse.type is not Limited");
            }
        }
        "Queue" => {
            if queuing.exists() {
                one_queuing(&queuing, errors);
            } else {
                errors.required(&queuing, "must not be empty if limited.limitResponse.type is Limited");
            }
        }
        _ => errors.not_supported(&response.get("type"), &["Queue", "Reject"]),
    }
}

fn one_queuing(queuing: &Field, errors: &mut Errors) {
    let (length, queues, hand) = (queuing.get("queueLengthLimit"), queuing.get("queues"), queuing.get("handSize"));
    if length.int_or_zero() <= 0 {
        errors.invalid_int(&length, "must be positive");
    }
    let (q, h) = (queues.int_or_zero(), hand.int_or_zero());
    if q > 10_000_000 {
        errors.invalid(&queues, "must not be greater than 10000000");
    } else if q <= 0 {
        errors.invalid_int(&queues, "must be positive");
    }
    if h <= 0 {
        errors.invalid_int(&hand, "must be positive");
    } else if h > q {
        errors.invalid(&hand, format!("should not be greater than queues ({q})"));
    } else if entropy_bits(q, h) > 60 {
        errors.invalid(
            &hand,
            format!("required entropy bits of deckSize {q} and handSize {h} should not be greater than 60"),
        );
    }
}

/// How many random bits it takes to deal a hand from a deck.
fn entropy_bits(deck: i64, hand: i64) -> u32 {
    let product = (0..hand).try_fold(1u128, |p, i| p.checked_mul(u128::try_from(deck - i).ok()?));
    product.map_or(u32::MAX, |p| 128 - (p.saturating_sub(1)).leading_zeros())
}
