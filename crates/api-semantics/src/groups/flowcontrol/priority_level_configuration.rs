//! PriorityLevelConfiguration: how much of the server a class of requests may use.

use serde_json::Value;

use crate::defaults::{ensure, set, set_zero, within};
use crate::kind::{Kind, empty_status};

pub(crate) static KIND: Kind = Kind { generation: true, initial_status: Some(empty_status), default, ..Kind::CLUSTER };

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
