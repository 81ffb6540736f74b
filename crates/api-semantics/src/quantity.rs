//! Quantities inside JSON values.

use std::str::FromStr;

pub(crate) use api_types::Quantity;
use serde_json::Value;

/// The quantity that a JSON value holds; `None` when it is absent or none.
pub(crate) fn of(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(s) => Quantity::from_str(s.trim()).ok(),
        Value::Number(n) => Quantity::from_str(&n.to_string()).ok(),
        _ => None,
    }
}

/// Whether it counts whole things.
pub(crate) fn is_integer(quantity: Quantity) -> bool {
    quantity.nanos() % 1_000_000_000 == 0
}

/// Rounds every entry of a resource list up to thousandths, the precision of stored lists.
pub(crate) fn round_list(list: &mut Value) {
    for value in list.as_object_mut().into_iter().flat_map(|m| m.values_mut()) {
        if let Some(q) = of(value).filter(|q| q.nanos() % 1_000_000 != 0) {
            *value = Value::String(Quantity::from_millis(q.milli_value()).to_string());
        }
    }
}
