//! Times and durations.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Zoned};

use super::{ONE, Outcome, Row, fail, no_such_overload};
use crate::EvalError;
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
    ("timestamp(string) -> timestamp", ONE, to_timestamp),
    ("timestamp(int) -> timestamp", ONE, to_timestamp),
    ("timestamp(timestamp) -> timestamp", ONE, to_timestamp),
    ("duration(string) -> duration", ONE, to_duration),
    ("duration(int) -> duration", ONE, to_duration),
    ("duration(duration) -> duration", ONE, to_duration),
    ("_+_(timestamp, duration) -> timestamp", ONE, add),
    ("_+_(duration, timestamp) -> timestamp", ONE, add),
    ("_+_(duration, duration) -> duration", ONE, add),
    ("_-_(timestamp, timestamp) -> duration", ONE, subtract),
    ("_-_(timestamp, duration) -> timestamp", ONE, subtract),
    ("_-_(duration, duration) -> duration", ONE, subtract),
    ("timestamp::getFullYear() -> int", ONE, |a| part(a, |t| t.year().into())),
    ("timestamp::getFullYear(string) -> int", ONE, |a| part(a, |t| t.year().into())),
    ("timestamp::getMonth() -> int", ONE, |a| part(a, |t| i64::from(t.month()) - 1)),
    ("timestamp::getMonth(string) -> int", ONE, |a| part(a, |t| i64::from(t.month()) - 1)),
    ("timestamp::getDate() -> int", ONE, |a| part(a, |t| t.day().into())),
    ("timestamp::getDate(string) -> int", ONE, |a| part(a, |t| t.day().into())),
    ("timestamp::getDayOfMonth() -> int", ONE, |a| part(a, |t| i64::from(t.day()) - 1)),
    ("timestamp::getDayOfMonth(string) -> int", ONE, |a| part(a, |t| i64::from(t.day()) - 1)),
    ("timestamp::getDayOfWeek() -> int", ONE, |a| part(a, |t| t.weekday().to_sunday_zero_offset().into())),
    ("timestamp::getDayOfWeek(string) -> int", ONE, |a| part(a, |t| t.weekday().to_sunday_zero_offset().into())),
    ("timestamp::getDayOfYear() -> int", ONE, |a| part(a, |t| i64::from(t.day_of_year()) - 1)),
    ("timestamp::getDayOfYear(string) -> int", ONE, |a| part(a, |t| i64::from(t.day_of_year()) - 1)),
    ("timestamp::getHours() -> int", ONE, |a| part(a, |t| t.hour().into())),
    ("timestamp::getHours(string) -> int", ONE, |a| part(a, |t| t.hour().into())),
    ("timestamp::getMinutes() -> int", ONE, |a| part(a, |t| t.minute().into())),
    ("timestamp::getMinutes(string) -> int", ONE, |a| part(a, |t| t.minute().into())),
    ("timestamp::getSeconds() -> int", ONE, |a| part(a, |t| t.second().into())),
    ("timestamp::getSeconds(string) -> int", ONE, |a| part(a, |t| t.second().into())),
    ("timestamp::getMilliseconds() -> int", ONE, |a| part(a, |t| t.millisecond().into())),
    ("timestamp::getMilliseconds(string) -> int", ONE, |a| part(a, |t| t.millisecond().into())),
    ("duration::getHours() -> int", ONE, |a| unit(a, 3_600_000_000_000)),
    ("duration::getMinutes() -> int", ONE, |a| unit(a, 60_000_000_000)),
    ("duration::getSeconds() -> int", ONE, |a| unit(a, 1_000_000_000)),
    ("duration::getMilliseconds() -> int", ONE, |a| unit(a, 1_000_000)),
];

fn to_timestamp(args: &[Value]) -> Outcome {
    match &args[0] {
        Value::Timestamp(_) => Ok(args[0].clone()),
        Value::Int(seconds) => {
            jiff::Timestamp::from_second(*seconds).map(Value::Timestamp).or_else(|_| fail("timestamp out of range"))
        }
        Value::String(text) => {
            text.parse().map(Value::Timestamp).or_else(|_| fail(format!("invalid timestamp {text:?}")))
        }
        _ => no_such_overload(),
    }
}

fn to_duration(args: &[Value]) -> Outcome {
    match &args[0] {
        Value::Duration(_) => Ok(args[0].clone()),
        Value::Int(nanos) => Ok(Value::Duration(*nanos)),
        Value::String(text) => api_types::duration::parse(text)
            .map(Value::Duration)
            .or_else(|_| fail(format!("time: invalid duration {text:?}"))),
        _ => no_such_overload(),
    }
}

fn shifted(time: &jiff::Timestamp, nanos: i64) -> Outcome {
    let moved = time.checked_add(SignedDuration::from_nanos(nanos));
    moved.map(Value::Timestamp).or_else(|_| fail("timestamp overflow"))
}

fn add(args: &[Value]) -> Outcome {
    match (&args[0], &args[1]) {
        (Value::Timestamp(t), Value::Duration(d)) | (Value::Duration(d), Value::Timestamp(t)) => shifted(t, *d),
        (Value::Duration(a), Value::Duration(b)) => {
            a.checked_add(*b).map_or_else(|| fail("duration overflow"), |d| Ok(Value::Duration(d)))
        }
        _ => no_such_overload(),
    }
}

fn subtract(args: &[Value]) -> Outcome {
    match (&args[0], &args[1]) {
        (Value::Timestamp(a), Value::Timestamp(b)) => i64::try_from(a.as_nanosecond() - b.as_nanosecond())
            .map(Value::Duration)
            .or_else(|_| fail("duration overflow")),
        (Value::Timestamp(t), Value::Duration(d)) => shifted(t, d.saturating_neg()),
        (Value::Duration(a), Value::Duration(b)) => {
            a.checked_sub(*b).map_or_else(|| fail("duration overflow"), |d| Ok(Value::Duration(d)))
        }
        _ => no_such_overload(),
    }
}

/// A part of a time in a time zone (`UTC` where none is given): a name, or an offset like `+02:00`.
fn part(args: &[Value], of: fn(&Zoned) -> i64) -> Outcome {
    let Value::Timestamp(time) = &args[0] else { return no_such_overload() };
    let zone = match args.get(1) {
        None => TimeZone::UTC,
        Some(Value::String(name)) => time_zone(name)?,
        Some(_) => return no_such_overload(),
    };
    Ok(Value::Int(of(&time.to_zoned(zone))))
}

fn time_zone(name: &str) -> Result<TimeZone, EvalError> {
    if let Some((hours, minutes)) = name.split_once(':') {
        let (Ok(hours), Ok(minutes)) = (hours.trim_start_matches('+').parse::<i32>(), minutes.parse::<i32>()) else {
            return fail(format!("unknown time zone {name}"));
        };
        let seconds = hours * 3600 + if name.starts_with('-') { -minutes * 60 } else { minutes * 60 };
        let offset = jiff::tz::Offset::from_seconds(seconds);
        return offset.map(TimeZone::fixed).or_else(|_| fail(format!("unknown time zone {name}")));
    }
    TimeZone::get(name).or_else(|_| fail(format!("unknown time zone {name}")))
}

fn unit(args: &[Value], nanos: i64) -> Outcome {
    match &args[0] {
        Value::Duration(d) => Ok(Value::Int(d / nanos)),
        _ => no_such_overload(),
    }
}
