//! Quantities of resources.

use std::cmp::Ordering;

use api_types::quantity::Quantity;

use super::{Cost, ONE, Outcome, Row, fail, no_such_overload};
use crate::EvalError;
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
    ("quantity(string) -> Quantity", Cost::Scan(1), |a| match text(a)?.parse() {
        Ok(quantity) => Ok(Value::Quantity(quantity)),
        Err(error) => fail(format!("{error}")),
    }),
    ("isQuantity(string) -> bool", Cost::Scan(1), |a| Ok(text(a)?.parse::<Quantity>().is_ok().into())),
    ("Quantity::sign() -> int", ONE, |a| Ok(Value::Int(nanos(a, 0)?.signum() as i64))),
    ("Quantity::isInteger() -> bool", ONE, |a| Ok(whole(nanos(a, 0)?).is_some().into())),
    ("Quantity::asInteger() -> int", ONE, |a| match whole(nanos(a, 0)?) {
        Some(number) => Ok(Value::Int(number)),
        None => fail("cannot convert value to integer"),
    }),
    ("Quantity::asApproximateFloat() -> double", ONE, |a| match &a[0] {
        Value::Quantity(quantity) => Ok(Value::Double(quantity.as_f64())),
        _ => no_such_overload(),
    }),
    ("Quantity::isGreaterThan(Quantity) -> bool", ONE, |a| Ok((nanos(a, 0)? > nanos(a, 1)?).into())),
    ("Quantity::isLessThan(Quantity) -> bool", ONE, |a| Ok((nanos(a, 0)? < nanos(a, 1)?).into())),
    ("Quantity::compareTo(Quantity) -> int", ONE, |a| {
        Ok(Value::Int(match nanos(a, 0)?.cmp(&nanos(a, 1)?) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }))
    }),
    ("Quantity::add(Quantity) -> Quantity", ONE, |a| combine(a, i128::checked_add)),
    ("Quantity::add(int) -> Quantity", ONE, |a| combine(a, i128::checked_add)),
    ("Quantity::sub(Quantity) -> Quantity", ONE, |a| combine(a, i128::checked_sub)),
    ("Quantity::sub(int) -> Quantity", ONE, |a| combine(a, i128::checked_sub)),
];

const UNIT: i128 = 1_000_000_000;

fn text(args: &[Value]) -> Result<&str, EvalError> {
    match &args[0] {
        Value::String(text) => Ok(text),
        _ => no_such_overload(),
    }
}

/// The amount in billionths.
fn nanos(args: &[Value], at: usize) -> Result<i128, EvalError> {
    match &args[at] {
        Value::Quantity(quantity) => Ok(quantity.nanos()),
        Value::Int(number) => Ok(i128::from(*number) * UNIT),
        _ => no_such_overload(),
    }
}

fn whole(nanos: i128) -> Option<i64> {
    if nanos % UNIT == 0 { i64::try_from(nanos / UNIT).ok() } else { None }
}

fn combine(args: &[Value], operation: fn(i128, i128) -> Option<i128>) -> Outcome {
    let Some(sum) = operation(nanos(args, 0)?, nanos(args, 1)?) else { return fail("quantity overflow") };
    let text = if sum % UNIT == 0 { (sum / UNIT).to_string() } else { format!("{sum}n") };
    match text.parse() {
        Ok(quantity) => Ok(Value::Quantity(quantity)),
        Err(error) => fail(format!("{error}")),
    }
}
