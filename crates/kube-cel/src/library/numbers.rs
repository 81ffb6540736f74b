//! Arithmetic and conversions.

use std::sync::Arc;

use super::{Cost, ONE, Outcome, Row, fail, no_such_overload};
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
    ("_+_(int, int) -> int", ONE, add),
    ("_+_(uint, uint) -> uint", ONE, add),
    ("_+_(double, double) -> double", ONE, add),
    ("_-_(int, int) -> int", ONE, subtract),
    ("_-_(uint, uint) -> uint", ONE, subtract),
    ("_-_(double, double) -> double", ONE, subtract),
    ("_*_(int, int) -> int", ONE, multiply),
    ("_*_(uint, uint) -> uint", ONE, multiply),
    ("_*_(double, double) -> double", ONE, multiply),
    ("_/_(int, int) -> int", ONE, divide),
    ("_/_(uint, uint) -> uint", ONE, divide),
    ("_/_(double, double) -> double", ONE, divide),
    ("_%_(int, int) -> int", ONE, modulo),
    ("_%_(uint, uint) -> uint", ONE, modulo),
    ("-_(int) -> int", ONE, negate),
    ("-_(double) -> double", ONE, negate),
    ("int(int) -> int", ONE, to_int),
    ("int(uint) -> int", ONE, to_int),
    ("int(double) -> int", ONE, to_int),
    ("int(string) -> int", ONE, to_int),
    ("int(timestamp) -> int", ONE, to_int),
    ("uint(uint) -> uint", ONE, to_uint),
    ("uint(int) -> uint", ONE, to_uint),
    ("uint(double) -> uint", ONE, to_uint),
    ("uint(string) -> uint", ONE, to_uint),
    ("double(double) -> double", ONE, to_double),
    ("double(int) -> double", ONE, to_double),
    ("double(uint) -> double", ONE, to_double),
    ("double(string) -> double", ONE, to_double),
    ("bool(bool) -> bool", ONE, to_bool),
    ("bool(string) -> bool", ONE, to_bool),
    ("dyn(A) -> dyn", ONE, |a| Ok(a[0].clone())),
    ("type(A) -> type(A)", ONE, |a| Ok(Value::Type(a[0].type_name().into()))),
    ("bytes(bytes) -> bytes", ONE, to_bytes),
    ("bytes(string) -> bytes", Cost::Scan(1), to_bytes),
];

const OVERFLOW: &str = "integer overflow";
const UNSIGNED_OVERFLOW: &str = "unsigned integer overflow";

fn signed(result: Option<i64>) -> Outcome {
    result.map_or_else(|| fail(OVERFLOW), |n| Ok(Value::Int(n)))
}

fn unsigned(result: Option<u64>) -> Outcome {
    result.map_or_else(|| fail(UNSIGNED_OVERFLOW), |n| Ok(Value::Uint(n)))
}

fn add(args: &[Value]) -> Outcome {
    match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => signed(a.checked_add(*b)),
        (Value::Uint(a), Value::Uint(b)) => unsigned(a.checked_add(*b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a + b)),
        _ => no_such_overload(),
    }
}

fn subtract(args: &[Value]) -> Outcome {
    match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => signed(a.checked_sub(*b)),
        (Value::Uint(a), Value::Uint(b)) => unsigned(a.checked_sub(*b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a - b)),
        _ => no_such_overload(),
    }
}

fn multiply(args: &[Value]) -> Outcome {
    match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => signed(a.checked_mul(*b)),
        (Value::Uint(a), Value::Uint(b)) => unsigned(a.checked_mul(*b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a * b)),
        _ => no_such_overload(),
    }
}

fn divide(args: &[Value]) -> Outcome {
    match (&args[0], &args[1]) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => fail("division by zero"),
        (Value::Int(a), Value::Int(b)) => signed(a.checked_div(*b)),
        (Value::Uint(a), Value::Uint(b)) => unsigned(a.checked_div(*b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a / b)),
        _ => no_such_overload(),
    }
}

fn modulo(args: &[Value]) -> Outcome {
    match (&args[0], &args[1]) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => fail("modulus by zero"),
        (Value::Int(a), Value::Int(b)) => signed(a.checked_rem(*b)),
        (Value::Uint(a), Value::Uint(b)) => unsigned(a.checked_rem(*b)),
        _ => no_such_overload(),
    }
}

fn negate(args: &[Value]) -> Outcome {
    match &args[0] {
        Value::Int(a) => signed(a.checked_neg()),
        Value::Double(a) => Ok(Value::Double(-a)),
        _ => no_such_overload(),
    }
}

fn to_int(args: &[Value]) -> Outcome {
    match &args[0] {
        Value::Int(_) => Ok(args[0].clone()),
        Value::Uint(u) => signed(i64::try_from(*u).ok()),
        Value::Double(d) if d.is_finite() && d.abs() < 9.223_372_036_854_775e18 => Ok(Value::Int(*d as i64)),
        Value::Double(_) => fail(OVERFLOW),
        Value::String(text) => text
            .parse()
            .map(Value::Int)
            .or_else(|_| fail(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))),
        Value::Timestamp(time) => Ok(Value::Int(time.as_second())),
        _ => no_such_overload(),
    }
}

fn to_uint(args: &[Value]) -> Outcome {
    match &args[0] {
        Value::Uint(_) => Ok(args[0].clone()),
        Value::Int(i) => unsigned(u64::try_from(*i).ok()),
        Value::Double(d) if *d >= 0.0 && *d < 1.844_674_407_370_955e19 => Ok(Value::Uint(*d as u64)),
        Value::Double(_) => fail(UNSIGNED_OVERFLOW),
        Value::String(text) => text
            .parse()
            .map(Value::Uint)
            .or_else(|_| fail(format!("strconv.ParseUint: parsing {text:?}: invalid syntax"))),
        _ => no_such_overload(),
    }
}

fn to_double(args: &[Value]) -> Outcome {
    match &args[0] {
        Value::Double(_) => Ok(args[0].clone()),
        Value::Int(i) => Ok(Value::Double(*i as f64)),
        Value::Uint(u) => Ok(Value::Double(*u as f64)),
        Value::String(text) => text
            .parse()
            .map(Value::Double)
            .or_else(|_| fail(format!("strconv.ParseFloat: parsing {text:?}: invalid syntax"))),
        _ => no_such_overload(),
    }
}

fn to_bool(args: &[Value]) -> Outcome {
    match &args[0] {
        Value::Bool(_) => Ok(args[0].clone()),
        Value::String(text) => match text.as_ref() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true.into()),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false.into()),
            other => fail(format!("strconv.ParseBool: parsing {other:?}: invalid syntax")),
        },
        _ => no_such_overload(),
    }
}

fn to_bytes(args: &[Value]) -> Outcome {
    match &args[0] {
        Value::Bytes(_) => Ok(args[0].clone()),
        Value::String(text) => Ok(Value::Bytes(Arc::from(text.as_bytes()))),
        _ => no_such_overload(),
    }
}
