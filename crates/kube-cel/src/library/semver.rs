//! Semantic versions.

use std::cmp::Ordering;

use semver::Version;

use super::{Cost, ONE, Outcome, Row, fail, no_such_overload};
use crate::EvalError;
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
    ("semver(string) -> Semver", Cost::Scan(1), make),
    ("semver(string, bool) -> Semver", Cost::Scan(1), make),
    ("isSemver(string) -> bool", Cost::Scan(1), |a| Ok(parse(a)?.is_ok().into())),
    ("isSemver(string, bool) -> bool", Cost::Scan(1), |a| Ok(parse(a)?.is_ok().into())),
    ("Semver::isGreaterThan(Semver) -> bool", ONE, |a| Ok((order(a)? == Ordering::Greater).into())),
    ("Semver::isLessThan(Semver) -> bool", ONE, |a| Ok((order(a)? == Ordering::Less).into())),
    ("Semver::compareTo(Semver) -> int", ONE, |a| {
        Ok(Value::Int(match order(a)? {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }))
    }),
    ("Semver::major() -> int", ONE, |a| part(a, |v| v.major)),
    ("Semver::minor() -> int", ONE, |a| part(a, |v| v.minor)),
    ("Semver::patch() -> int", ONE, |a| part(a, |v| v.patch)),
];

fn make(args: &[Value]) -> Outcome {
    match parse(args)? {
        Ok(version) => Ok(Value::Semver(version.into())),
        Err(error) => fail(format!("semver parse error during conversion from string: {error}")),
    }
}

/// Normalized on request: without a leading `v`, with all three numbers, without leading zeros.
fn parse(args: &[Value]) -> Result<Result<Version, semver::Error>, EvalError> {
    let Value::String(text) = &args[0] else { return no_such_overload() };
    match args.get(1) {
        Some(Value::Bool(true)) => Ok(Version::parse(&normalized(text))),
        Some(Value::Bool(false)) | None => Ok(Version::parse(text)),
        Some(_) => no_such_overload(),
    }
}

fn normalized(text: &str) -> String {
    let text = text.strip_prefix('v').unwrap_or(text);
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let mut numbers: Vec<&str> = text[..end].split('.').collect();
    for number in &mut numbers {
        let stripped = number.trim_start_matches('0');
        if number.len() > 1 {
            *number = if stripped.is_empty() { "0" } else { stripped };
        }
    }
    while numbers.len() < 3 {
        numbers.push("0");
    }
    format!("{}{}", numbers.join("."), &text[end..])
}

/// Build metadata does not count.
fn order(args: &[Value]) -> Result<Ordering, EvalError> {
    match (&args[0], &args[1]) {
        (Value::Semver(a), Value::Semver(b)) => Ok(a.cmp_precedence(b)),
        _ => no_such_overload(),
    }
}

fn part(args: &[Value], of: fn(&Version) -> u64) -> Outcome {
    match &args[0] {
        Value::Semver(version) => Ok(Value::Int(i64::try_from(of(version)).unwrap_or(i64::MAX))),
        _ => no_such_overload(),
    }
}
