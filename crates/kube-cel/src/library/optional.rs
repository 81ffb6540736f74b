//! Optional values.

use super::{ONE, Outcome, Row, fail, no_such_overload};
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
    ("optional.of(A) -> optional(A)", ONE, |a| Ok(Value::some(a[0].clone()))),
    ("optional.ofNonZeroValue(A) -> optional(A)", ONE, of_non_zero),
    ("optional.none() -> optional(A)", ONE, |_| Ok(Value::none())),
    ("optional(A)::hasValue() -> bool", ONE, has_value),
    ("optional(A)::value() -> A", ONE, value),
    ("optional(A)::or(optional(A)) -> optional(A)", ONE, or),
    ("optional(A)::orValue(A) -> A", ONE, or_value),
];

fn of_non_zero(args: &[Value]) -> Outcome {
    let zero = match &args[0] {
        Value::Null | Value::Bool(false) | Value::Int(0) | Value::Uint(0) | Value::Duration(0) => true,
        Value::Double(d) => *d == 0.0,
        Value::String(s) => s.is_empty(),
        Value::Bytes(b) => b.is_empty(),
        Value::List(list) => list.items.is_empty(),
        Value::Map(map) => map.is_empty(),
        _ => false,
    };
    Ok(if zero { Value::none() } else { Value::some(args[0].clone()) })
}

fn has_value(args: &[Value]) -> Outcome {
    match &args[0] {
        Value::Optional(inner) => Ok(inner.is_some().into()),
        _ => no_such_overload(),
    }
}

fn value(args: &[Value]) -> Outcome {
    match &args[0] {
        Value::Optional(Some(inner)) => Ok(inner.as_ref().clone()),
        Value::Optional(None) => fail("optional.none() dereference"),
        _ => no_such_overload(),
    }
}

fn or(args: &[Value]) -> Outcome {
    match &args[0] {
        Value::Optional(Some(_)) => Ok(args[0].clone()),
        Value::Optional(None) => Ok(args[1].clone()),
        _ => no_such_overload(),
    }
}

fn or_value(args: &[Value]) -> Outcome {
    match &args[0] {
        Value::Optional(Some(inner)) => Ok(inner.as_ref().clone()),
        Value::Optional(None) => Ok(args[1].clone()),
        _ => no_such_overload(),
    }
}
