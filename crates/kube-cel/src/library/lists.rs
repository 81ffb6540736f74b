//! Functions of lists, maps and sets.

use std::cmp::Ordering;

use super::{Cost, ONE, Outcome, Row, fail, no_such_overload};
use crate::EvalError;
use crate::value::{List, Value};

pub(super) const ROWS: &[Row] = &[
    ("size(list(A)) -> int", ONE, size),
    ("size(map(A, B)) -> int", ONE, size),
    ("list(A)::size() -> int", ONE, size),
    ("map(A, B)::size() -> int", ONE, size),
    ("list(int)::isSorted() -> bool", Cost::Traverse, is_sorted),
    ("list(uint)::isSorted() -> bool", Cost::Traverse, is_sorted),
    ("list(double)::isSorted() -> bool", Cost::Traverse, is_sorted),
    ("list(bool)::isSorted() -> bool", Cost::Traverse, is_sorted),
    ("list(duration)::isSorted() -> bool", Cost::Traverse, is_sorted),
    ("list(timestamp)::isSorted() -> bool", Cost::Traverse, is_sorted),
    ("list(string)::isSorted() -> bool", Cost::Traverse, is_sorted),
    ("list(bytes)::isSorted() -> bool", Cost::Traverse, is_sorted),
    ("list(int)::sum() -> int", Cost::Traverse, sum),
    ("list(uint)::sum() -> uint", Cost::Traverse, sum),
    ("list(double)::sum() -> double", Cost::Traverse, sum),
    ("list(duration)::sum() -> duration", Cost::Traverse, sum),
    ("list(int)::min() -> int", Cost::Traverse, min),
    ("list(uint)::min() -> uint", Cost::Traverse, min),
    ("list(double)::min() -> double", Cost::Traverse, min),
    ("list(bool)::min() -> bool", Cost::Traverse, min),
    ("list(duration)::min() -> duration", Cost::Traverse, min),
    ("list(timestamp)::min() -> timestamp", Cost::Traverse, min),
    ("list(string)::min() -> string", Cost::Traverse, min),
    ("list(bytes)::min() -> bytes", Cost::Traverse, min),
    ("list(int)::max() -> int", Cost::Traverse, max),
    ("list(uint)::max() -> uint", Cost::Traverse, max),
    ("list(double)::max() -> double", Cost::Traverse, max),
    ("list(bool)::max() -> bool", Cost::Traverse, max),
    ("list(duration)::max() -> duration", Cost::Traverse, max),
    ("list(timestamp)::max() -> timestamp", Cost::Traverse, max),
    ("list(string)::max() -> string", Cost::Traverse, max),
    ("list(bytes)::max() -> bytes", Cost::Traverse, max),
    ("list(A)::indexOf(A) -> int", Cost::Traverse, |a| index(a, false)),
    ("list(A)::lastIndexOf(A) -> int", Cost::Traverse, |a| index(a, true)),
    ("sets.contains(list(A), list(A)) -> bool", Cost::ScanProduct, |a| sets(a, contains)),
    ("sets.equivalent(list(A), list(A)) -> bool", Cost::ScanProduct, |a| {
        sets(a, |a, b| contains(a, b) && contains(b, a))
    }),
    ("sets.intersects(list(A), list(A)) -> bool", Cost::ScanProduct, |a| {
        sets(a, |a, b| a.items.iter().any(|item| b.items.contains(item)))
    }),
];

fn list(args: &[Value]) -> Result<&List, EvalError> {
    match &args[0] {
        Value::List(list) => Ok(list),
        _ => no_such_overload(),
    }
}

fn size(args: &[Value]) -> Outcome {
    match &args[0] {
        Value::List(list) => Ok(Value::Int(list.items.len() as i64)),
        Value::Map(map) | Value::Defaulting(map, _) => Ok(Value::Int(map.len() as i64)),
        _ => no_such_overload(),
    }
}

fn is_sorted(args: &[Value]) -> Outcome {
    for pair in list(args)?.items.windows(2) {
        match pair[0].compare(&pair[1]) {
            None => return no_such_overload(),
            Some(Ordering::Greater) => return Ok(false.into()),
            Some(_) => {}
        }
    }
    Ok(true.into())
}

fn sum(args: &[Value]) -> Outcome {
    let items = &list(args)?.items;
    let Some((first, rest)) = items.split_first() else { return Ok(Value::Int(0)) };
    rest.iter().try_fold(first.clone(), |sum, item| {
        let added = match (&sum, item) {
            (Value::Int(a), Value::Int(b)) => a.checked_add(*b).map(Value::Int),
            (Value::Uint(a), Value::Uint(b)) => a.checked_add(*b).map(Value::Uint),
            (Value::Double(a), Value::Double(b)) => Some(Value::Double(a + b)),
            (Value::Duration(a), Value::Duration(b)) => a.checked_add(*b).map(Value::Duration),
            _ => return no_such_overload(),
        };
        added.map_or_else(|| fail("integer overflow"), Ok)
    })
}

fn min(args: &[Value]) -> Outcome {
    extreme(args, "min", Ordering::Less)
}

fn max(args: &[Value]) -> Outcome {
    extreme(args, "max", Ordering::Greater)
}

fn extreme(args: &[Value], name: &str, wanted: Ordering) -> Outcome {
    let items = &list(args)?.items;
    let Some((first, rest)) = items.split_first() else { return fail(format!("{name} called on empty list")) };
    rest.iter().try_fold(first.clone(), |best, item| match item.compare(&best) {
        None => no_such_overload(),
        Some(order) if order == wanted => Ok(item.clone()),
        Some(_) => Ok(best),
    })
}

fn index(args: &[Value], last: bool) -> Outcome {
    let items = &list(args)?.items;
    let same = |item: &Value| *item == args[1];
    let found = if last { items.iter().rposition(same) } else { items.iter().position(same) };
    Ok(Value::Int(found.map_or(-1, |i| i as i64)))
}

fn contains(all: &List, part: &List) -> bool {
    part.items.iter().all(|item| all.items.contains(item))
}

fn sets(args: &[Value], decide: fn(&List, &List) -> bool) -> Outcome {
    match (&args[0], &args[1]) {
        (Value::List(a), Value::List(b)) => Ok(decide(a, b).into()),
        _ => no_such_overload(),
    }
}
