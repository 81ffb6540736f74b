//! Small texts that cells are made of.

use jiff::Timestamp;
use serde_json::Value;

/// The value at a path (`.spec.replicas`); null when absent.
pub(super) fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    path.split('.').skip(1).fold(object, |value, name| &value[name])
}

/// The text at a path; empty when absent.
pub(super) fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    at(object, path).as_str().unwrap_or_default()
}

pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub(super) fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.len(),
        Value::Object(entries) => entries.len(),
        _ => 0,
    }
}

/// A number or string as text.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

/// The text, or a default for the empty one.
pub(super) fn or<'a>(text: &'a str, default: &'a str) -> &'a str {
    if text.is_empty() { default } else { text }
}

/// `a=b,c=d`, or `<none>`.
pub(super) fn labels(map: &Value) -> String {
    let parts: Vec<String> =
        map.as_object().into_iter().flatten().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
    if parts.is_empty() { "<none>".to_owned() } else { parts.join(",") }
}

/// The names of the list's items, joined.
pub(super) fn joined(items: &Value, field: &str) -> String {
    list(items).filter_map(|i| i[field].as_str()).collect::<Vec<_>>().join(",")
}

/// The first three items, and how many more there are.
pub(super) fn first_three(items: &[String], separator: &str) -> String {
    let shown = items[..items.len().min(3)].join(separator);
    if items.len() > 3 { format!("{shown} + {} more...", items.len() - 3) } else { shown }
}

/// How long ago a time was; `<unknown>` for none.
pub fn age(time: &Value, now: Timestamp) -> String {
    match time.as_str().and_then(|t| api_types::time::parse(t).ok()) {
        Some(time) => human_duration(now.as_second() - time.as_second()),
        None => "<unknown>".to_owned(),
    }
}

/// Seconds in the short form of tables: `90s`, `5m30s`, `3h`, `8d`.
pub fn human_duration(seconds: i64) -> String {
    let two = |major: i64, unit: &str, minor: i64, small: &str| {
        if minor == 0 { format!("{major}{unit}") } else { format!("{major}{unit}{minor}{small}") }
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 192 => two(days, "d", hours % 24, "h"),
        _ if days < 730 => format!("{days}d"),
        _ if days < 2920 => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}
