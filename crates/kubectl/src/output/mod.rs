//! Objects and tables to text. Everything here is pure.

pub mod columns;
pub mod jsonpath;
pub mod printer;
pub mod table;
pub mod tabs;
pub mod yaml;

use serde::Serialize;
use serde_json::Value;

/// JSON as upstream prints it: four spaces, keys sorted, `<`, `>` and `&` escaped.
pub fn json(value: &Value) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    // Writing a Value into memory cannot fail: its keys are strings.
    if value.serialize(&mut serializer).is_err() {
        return String::new();
    }
    let mut text = escape_html(&String::from_utf8_lossy(&bytes));
    text.push('\n');
    text
}

/// JSON on one line, with the same escapes.
pub fn compact_json(value: &Value) -> String {
    escape_html(&value.to_string())
}

fn escape_html(text: &str) -> String {
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c => out.push(c),
        }
    }
    out
}

/// A number, text or anything else as plain text; what is absent is empty.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
