//! Operators, but for those that do not look at all of their operands (`&&`, `||`, `?:`).

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Cost, ONE, Outcome, Row, fail, no_such_overload};
use crate::value::{Key, List, ListKind, Value, same_keys};

pub(super) const ROWS: &[Row] = &[
    ("_==_(A, A) -> bool", Cost::ScanShorter, |a| Ok((a[0] == a[1]).into())),
    ("_!=_(A, A) -> bool", Cost::ScanShorter, |a| Ok((a[0] != a[1]).into())),
    ("!_(bool) -> bool", ONE, not),
    ("@not_strictly_false(bool) -> bool", Cost::Fixed(0), |a| Ok(a[0].clone())),
    ("@in(A, list(A)) -> bool", Cost::Items, in_list),
    ("@in(A, map(A, B)) -> bool", ONE, in_map),
    ("_[_](list(A), int) -> A", ONE, index),
    ("_[_](map(A, B), A) -> B", ONE, index),
    ("_[_](optional(list(A)), int) -> optional(A)", ONE, index),
    ("_[_](optional(map(A, B)), A) -> optional(B)", ONE, index),
    ("_[?_](list(A), int) -> optional(A)", ONE, optional_index),
    ("_[?_](map(A, B), A) -> optional(B)", ONE, optional_index),
    ("_[?_](optional(list(A)), int) -> optional(A)", ONE, optional_index),
    ("_[?_](optional(map(A, B)), A) -> optional(B)", ONE, optional_index),
    ("cel.@mapInsert(map(K, V), K, V) -> map(K, V)", ONE, map_insert),
    ("_+_(list(A), list(A)) -> list(A)", ONE, concat),
    ("_+_(string, string) -> string", Cost::ScanBoth, concat_text),
    ("_+_(bytes, bytes) -> bytes", Cost::ScanBoth, concat_bytes),
    ("_<_(bool, bool) -> bool", ONE, less),
    ("_<_(int, int) -> bool", ONE, less),
    ("_<_(int, double) -> bool", ONE, less),
    ("_<_(int, uint) -> bool", ONE, less),
    ("_<_(uint, uint) -> bool", ONE, less),
    ("_<_(uint, double) -> bool", ONE, less),
    ("_<_(uint, int) -> bool", ONE, less),
    ("_<_(double, double) -> bool", ONE, less),
    ("_<_(double, int) -> bool", ONE, less),
    ("_<_(double, uint) -> bool", ONE, less),
    ("_<_(string, string) -> bool", Cost::ScanShorter, less),
    ("_<_(bytes, bytes) -> bool", Cost::ScanShorter, less),
    ("_<_(timestamp, timestamp) -> bool", ONE, less),
    ("_<_(duration, duration) -> bool", ONE, less),
    ("_<=_(bool, bool) -> bool", ONE, less_equal),
    ("_<=_(int, int) -> bool", ONE, less_equal),
    ("_<=_(int, double) -> bool", ONE, less_equal),
    ("_<=_(int, uint) -> bool", ONE, less_equal),
    ("_<=_(uint, uint) -> bool", ONE, less_equal),
    ("_<=_(uint, double) -> bool", ONE, less_equal),
    ("_<=_(uint, int) -> bool", ONE, less_equal),
    ("_<=_(double, double) -> bool", ONE, less_equal),
    ("_<=_(double, int) -> bool", ONE, less_equal),
    ("_<=_(double, uint) -> bool", ONE, less_equal),
    ("_<=_(string, string) -> bool", Cost::ScanShorter, less_equal),
    ("_<=_(bytes, bytes) -> bool", Cost::ScanShorter, less_equal),
    ("_<=_(timestamp, timestamp) -> bool", ONE, less_equal),
    ("_<=_(duration, duration) -> bool", ONE, less_equal),
    ("_>_(bool, bool) -> bool", ONE, greater),
    ("_>_(int, int) -> bool", ONE, greater),
    ("_>_(int, double) -> bool", ONE, greater),
    ("_>_(int, uint) -> bool", ONE, greater),
    ("_>_(uint, uint) -> bool", ONE, greater),
    ("_>_(uint, double) -> bool", ONE, greater),
    ("_>_(uint, int) -> bool", ONE, greater),
    ("_>_(double, double) -> bool", ONE, greater),
    ("_>_(double, int) -> bool", ONE, greater),
    ("_>_(double, uint) -> bool", ONE, greater),
    ("_>_(string, string) -> bool", Cost::ScanShorter, greater),
    ("_>_(bytes, bytes) -> bool", Cost::ScanShorter, greater),
    ("_>_(timestamp, timestamp) -> bool", ONE, greater),
    ("_>_(duration, duration) -> bool", ONE, greater),
    ("_>=_(bool, bool) -> bool", ONE, greater_equal),
    ("_>=_(int, int) -> bool", ONE, greater_equal),
    ("_>=_(int, double) -> bool", ONE, greater_equal),
    ("_>=_(int, uint) -> bool", ONE, greater_equal),
    ("_>=_(uint, uint) -> bool", ONE, greater_equal),
    ("_>=_(uint, double) -> bool", ONE, greater_equal),
    ("_>=_(uint, int) -> bool", ONE, greater_equal),
    ("_>=_(double, double) -> bool", ONE, greater_equal),
    ("_>=_(double, int) -> bool", ONE, greater_equal),
    ("_>=_(double, uint) -> bool", ONE, greater_equal),
    ("_>=_(string, string) -> bool", Cost::ScanShorter, greater_equal),
    ("_>=_(bytes, bytes) -> bool", Cost::ScanShorter, greater_equal),
    ("_>=_(timestamp, timestamp) -> bool", ONE, greater_equal),
    ("_>=_(duration, duration) -> bool", ONE, greater_equal),
];

fn not(args: &[Value]) -> Outcome {
    match &args[0] {
        Value::Bool(b) => Ok((!b).into()),
        _ => no_such_overload(),
    }
}

fn less(args: &[Value]) -> Outcome {
    Ok((args[0].compare(&args[1]) == Some(Ordering::Less)).into())
}

fn less_equal(args: &[Value]) -> Outcome {
    Ok(matches!(args[0].compare(&args[1]), Some(Ordering::Less | Ordering::Equal)).into())
}

fn greater(args: &[Value]) -> Outcome {
    Ok((args[0].compare(&args[1]) == Some(Ordering::Greater)).into())
}

fn greater_equal(args: &[Value]) -> Outcome {
    Ok(matches!(args[0].compare(&args[1]), Some(Ordering::Greater | Ordering::Equal)).into())
}

fn in_list(args: &[Value]) -> Outcome {
    match &args[1] {
        Value::List(list) => Ok(list.items.contains(&args[0]).into()),
        _ => no_such_overload(),
    }
}

fn in_map(args: &[Value]) -> Outcome {
    match &args[1] {
        Value::Map(map) | Value::Defaulting(map, _) => {
            Ok(Key::of(&args[0]).is_some_and(|key| map.contains_key(&key)).into())
        }
        _ => no_such_overload(),
    }
}

/// The entry, or nothing.
fn entry(of: &Value, at: &Value) -> Result<Option<Value>, crate::EvalError> {
    match of {
        Value::List(list) => {
            let Some(Key::Int(index)) = Key::of(at) else { return no_such_overload() };
            Ok(usize::try_from(index).ok().and_then(|i| list.items.get(i)).cloned())
        }
        Value::Map(map) => Ok(Key::of(at).and_then(|key| map.get(&key)).cloned()),
        Value::Defaulting(map, default) => {
            Ok(Some(Key::of(at).and_then(|key| map.get(&key)).unwrap_or(default).clone()))
        }
        _ => no_such_overload(),
    }
}

fn index(args: &[Value]) -> Outcome {
    if matches!(args[0], Value::Optional(_)) {
        return optional_index(args);
    }
    match (entry(&args[0], &args[1])?, &args[0]) {
        (Some(found), _) => Ok(found),
        (None, Value::List(_)) => fail(format!("index out of bounds: {}", shown_key(&args[1]))),
        (None, _) => fail(format!("no such key: {}", shown_key(&args[1]))),
    }
}

fn shown_key(value: &Value) -> String {
    Key::of(value).map_or_else(|| value.type_name().to_owned(), |key| key.to_string())
}

fn optional_index(args: &[Value]) -> Outcome {
    let of = match &args[0] {
        Value::Optional(None) => return Ok(Value::none()),
        Value::Optional(Some(inner)) => inner,
        other => other,
    };
    Ok(entry(of, &args[1])?.map_or_else(Value::none, Value::some))
}

fn map_insert(args: &[Value]) -> Outcome {
    let (Value::Map(map), Some(key)) = (&args[0], Key::of(&args[1])) else { return no_such_overload() };
    if map.contains_key(&key) {
        return fail(format!("insert failed: key {key} already exists"));
    }
    let mut map = map.as_ref().clone();
    map.insert(key, args[2].clone());
    Ok(Value::Map(Arc::new(map)))
}

/// Sets and keyed lists join by identity: what is there already stays, keyed entries are replaced.
fn concat(args: &[Value]) -> Outcome {
    let (Value::List(a), Value::List(b)) = (&args[0], &args[1]) else { return no_such_overload() };
    let mut items = a.items.as_ref().clone();
    for item in b.items.iter() {
        let present = match &a.kind {
            ListKind::Atomic => None,
            ListKind::Set => items.iter().position(|i| i == item),
            ListKind::Map(keys) => items.iter().position(|i| same_keys(i, item, keys)),
        };
        match present {
            Some(at) => items[at] = item.clone(),
            None => items.push(item.clone()),
        }
    }
    Ok(Value::List(List { items: Arc::new(items), kind: a.kind.clone() }))
}

fn concat_text(args: &[Value]) -> Outcome {
    let (Value::String(a), Value::String(b)) = (&args[0], &args[1]) else { return no_such_overload() };
    Ok(format!("{a}{b}").into())
}

fn concat_bytes(args: &[Value]) -> Outcome {
    let (Value::Bytes(a), Value::Bytes(b)) = (&args[0], &args[1]) else { return no_such_overload() };
    Ok(Value::Bytes([a.as_ref(), b.as_ref()].concat().into()))
}
