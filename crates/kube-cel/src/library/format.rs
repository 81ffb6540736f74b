//! Named formats of texts.

use api_types::names;

use super::{Cost, ONE, Outcome, Row, no_such_overload};
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
    ("format.named(string) -> optional(Format)", ONE, named),
    ("Format::validate(string) -> optional(list(string))", Cost::Regex, validate),
    ("format.dns1123Label() -> Format", ONE, |_| Ok(Value::Format(&FORMATS[0]))),
    ("format.dns1123Subdomain() -> Format", ONE, |_| Ok(Value::Format(&FORMATS[1]))),
    ("format.dns1035Label() -> Format", ONE, |_| Ok(Value::Format(&FORMATS[2]))),
    ("format.qualifiedName() -> Format", ONE, |_| Ok(Value::Format(&FORMATS[3]))),
    ("format.dns1123LabelPrefix() -> Format", ONE, |_| Ok(Value::Format(&FORMATS[4]))),
    ("format.dns1123SubdomainPrefix() -> Format", ONE, |_| Ok(Value::Format(&FORMATS[5]))),
    ("format.dns1035LabelPrefix() -> Format", ONE, |_| Ok(Value::Format(&FORMATS[6]))),
    ("format.labelValue() -> Format", ONE, |_| Ok(Value::Format(&FORMATS[7]))),
    ("format.uri() -> Format", ONE, |_| Ok(Value::Format(&FORMATS[8]))),
    ("format.uuid() -> Format", ONE, |_| Ok(Value::Format(&FORMATS[9]))),
    ("format.byte() -> Format", ONE, |_| Ok(Value::Format(&FORMATS[10]))),
    ("format.date() -> Format", ONE, |_| Ok(Value::Format(&FORMATS[11]))),
    ("format.datetime() -> Format", ONE, |_| Ok(Value::Format(&FORMATS[12]))),
];

/// A format that texts can be checked against.
pub struct NamedFormat {
    name: &'static str,
    /// What is wrong with a text.
    check: fn(&str) -> Vec<String>,
}

impl std::fmt::Debug for NamedFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

static FORMATS: [NamedFormat; 13] = [
    NamedFormat { name: "dns1123Label", check: names::dns1123_label },
    NamedFormat { name: "dns1123Subdomain", check: names::dns1123_subdomain },
    NamedFormat { name: "dns1035Label", check: names::dns1035_label },
    NamedFormat { name: "qualifiedName", check: names::qualified_name },
    NamedFormat { name: "dns1123LabelPrefix", check: |t| names::dns1123_label(&prefix(t)) },
    NamedFormat { name: "dns1123SubdomainPrefix", check: |t| names::dns1123_subdomain(&prefix(t)) },
    NamedFormat { name: "dns1035LabelPrefix", check: |t| names::dns1035_label(&prefix(t)) },
    NamedFormat { name: "labelValue", check: names::label_value },
    NamedFormat {
        name: "uri",
        check: |t| unless(super::url::ROWS[1].2(&[t.into()]).is_ok_and(|v| v == true.into()), "invalid URL"),
    },
    NamedFormat { name: "uuid", check: |t| unless(is_uuid(t), "does not match the UUID format") },
    NamedFormat { name: "byte", check: |t| unless(is_base64(t), "invalid base64") },
    NamedFormat { name: "date", check: |t| unless(t.parse::<jiff::civil::Date>().is_ok(), "invalid date") },
    NamedFormat { name: "datetime", check: |t| unless(t.parse::<jiff::Timestamp>().is_ok(), "invalid datetime") },
];

/// Names are made from prefixes by appending: a dash at the end is fine.
fn prefix(text: &str) -> String {
    text.strip_suffix('-').map_or_else(|| text.to_owned(), |rest| format!("{rest}a"))
}

fn unless(good: bool, message: &str) -> Vec<String> {
    if good { Vec::new() } else { vec![message.to_owned()] }
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|g| g.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|g| g.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn is_base64(text: &str) -> bool {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}

fn named(args: &[Value]) -> Outcome {
    let Value::String(name) = &args[0] else { return no_such_overload() };
    let found = FORMATS.iter().find(|f| f.name == name.as_ref());
    Ok(found.map_or_else(Value::none, |format| Value::some(Value::Format(format))))
}

fn validate(args: &[Value]) -> Outcome {
    let (Value::Format(format), Value::String(text)) = (&args[0], &args[1]) else { return no_such_overload() };
    let wrong: Vec<Value> = (format.check)(text).into_iter().map(Value::from).collect();
    Ok(if wrong.is_empty() { Value::none() } else { Value::some(wrong.into()) })
}
