//! YAML in and out. Input goes through the same document form as JSON; output has sorted keys, as sigs.k8s.io/yaml
//! prints.

use std::collections::HashSet;

use granit_parser::Event;
use serde_json::Value;

use crate::json::{DecodeError, Decoded, Doc, SyntaxError, decode_doc};
use crate::schema::Type;

/// Parses one YAML document.
pub fn parse(text: &[u8]) -> Result<Doc<'static>, SyntaxError> {
    serde_yaml::from_slice(text).map_err(|e| SyntaxError(format!("yaml: {e}")))
}

/// What a strict reader says of keys that are there twice in one mapping, in the words of upstream's YAML library; `None` when
/// there are none, and of text that is no YAML.
pub fn duplicate_keys(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let mut open: Vec<Collection> = Vec::new();
    let mut found = String::new();
    for event in granit_parser::Parser::new_from_str(text) {
        let (event, span) = event.ok()?;
        match event {
            Event::Scalar(key, ..) => {
                if let Some(Collection::Mapping { keys, at_key: true }) = open.last_mut()
                    && !keys.insert(key.to_string())
                {
                    found += &format!("\n  line {}: key \"{key}\" already set in map", span.start.line());
                }
                step(&mut open);
            }
            Event::Alias(_) => step(&mut open),
            Event::MappingStart(..) => open.push(Collection::Mapping { keys: HashSet::new(), at_key: true }),
            Event::SequenceStart(..) => open.push(Collection::Sequence),
            Event::MappingEnd | Event::SequenceEnd => {
                open.pop();
                step(&mut open);
            }
            _ => {}
        }
    }
    (!found.is_empty()).then(|| format!("error converting YAML to JSON: yaml: unmarshal errors:{found}"))
}

/// A collection that is being read.
enum Collection {
    Mapping { keys: HashSet<String>, at_key: bool },
    Sequence,
}

/// A node is complete: in a mapping, keys and values take turns.
fn step(open: &mut [Collection]) {
    if let Some(Collection::Mapping { at_key, .. }) = open.last_mut() {
        *at_key = !*at_key;
    }
}

/// Decodes one YAML document against a schema, like [`crate::json::decode`].
pub fn decode(text: &[u8], schema: &Type) -> Result<Decoded, DecodeError> {
    decode_doc(&parse(text)?, schema)
}

/// Prints a normalized value.
pub fn encode(value: &Value, out: &mut Vec<u8>) {
    Emitter { out }.block(value, 0, false);
}

/// Bytes of a key up to which it is written without the mark for complex keys, as Go's emitter does; parsers stop at 1,024.
const LONGEST_SIMPLE_KEY: usize = 128;

struct Emitter<'o> {
    out: &'o mut Vec<u8>,
}

impl Emitter<'_> {
    /// A value at the start of a line (or after `- `, when `inline`).
    fn block(&mut self, value: &Value, indent: usize, inline: bool) {
        match value {
            Value::Object(entries) if !entries.is_empty() => {
                for (index, (key, entry)) in entries.iter().enumerate() {
                    if index > 0 || !inline {
                        self.spaces(indent);
                    }
                    // A key is on one line.
                    let text = if key.contains('\n') { double_quoted(key) } else { scalar_text(key, indent) };
                    if key.len() > LONGEST_SIMPLE_KEY {
                        self.out.extend(b"? ");
                        self.out.extend(text.as_bytes());
                        self.out.push(b'\n');
                        self.spaces(indent);
                    } else {
                        self.out.extend(text.as_bytes());
                    }
                    self.out.push(b':');
                    self.after_key(entry, indent);
                }
            }
            Value::Array(items) if !items.is_empty() => {
                for (index, item) in items.iter().enumerate() {
                    if index > 0 || !inline {
                        self.spaces(indent);
                    }
                    self.out.extend(b"- ");
                    self.block(item, indent + 2, true);
                }
            }
            _ => self.flow(value, indent),
        }
    }

    fn after_key(&mut self, entry: &Value, indent: usize) {
        match entry {
            Value::Object(inner) if !inner.is_empty() => {
                self.out.push(b'\n');
                self.block(entry, indent + 2, false);
            }
            // Lists are not indented below their key.
            Value::Array(items) if !items.is_empty() => {
                self.out.push(b'\n');
                self.block(entry, indent, false);
            }
            _ => {
                self.out.push(b' ');
                self.flow(entry, indent + 2);
            }
        }
    }

    fn flow(&mut self, value: &Value, indent: usize) {
        let text = match value {
            Value::Null => "null".to_owned(),
            Value::Bool(b) => b.to_string(),
            Value::Number(n) => {
                n.as_i64().map_or_else(|| crate::json::go_double(n.as_f64().unwrap_or_default()), |n| n.to_string())
            }
            Value::String(text) => scalar_text(text, indent),
            Value::Array(_) => "[]".to_owned(),
            Value::Object(_) => "{}".to_owned(),
        };
        self.out.extend(text.as_bytes());
        self.out.push(b'\n');
    }

    fn spaces(&mut self, count: usize) {
        self.out.extend(std::iter::repeat_n(b' ', count));
    }
}

/// A string as a plain, single-quoted, double-quoted or literal block scalar.
fn scalar_text(text: &str, indent: usize) -> String {
    if text.contains('\n')
        && text.chars().all(|c| c == '\n' || c == '\t' || !is_special(c))
        && !text.starts_with([' ', '\n'])
    {
        return literal(text, indent);
    }
    if text.chars().any(is_special) {
        return double_quoted(text);
    }
    if resolves(text) {
        return format!("\"{text}\"");
    }
    if is_plain(text) { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) }
}

/// What can stand in quotes only: controls, the mark of byte order, and what YAML 1.1 takes for the end of a line.
fn is_special(c: char) -> bool {
    c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}')
}

fn literal(text: &str, indent: usize) -> String {
    let chomp = match (text.ends_with('\n'), text.ends_with("\n\n")) {
        (false, _) => "-",
        (true, true) => "+",
        (true, false) => "",
    };
    let mut out = format!("|{chomp}");
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            out.extend(std::iter::repeat_n(' ', indent.max(2)));
            out.push_str(line);
        }
    }
    out
}

fn double_quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0' => out.push_str("\\0"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{1b}' => out.push_str("\\e"),
            '\u{2028}' => out.push_str("\\L"),
            '\u{2029}' => out.push_str("\\P"),
            '\u{feff}' => out.push_str("\\uFEFF"),
            c if c.is_control() => out.push_str(&format!("\\x{:02X}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Whether a plain scalar of this text would be read as something else than a string (YAML 1.1).
fn resolves(text: &str) -> bool {
    const WORDS: [&str; 22] = [
        "", "~", "null", "Null", "NULL", "true", "True", "TRUE", "false", "False", "FALSE", "y", "Y", "yes", "Yes",
        "YES", "on", "On", "ON", "n", "N", "<<",
    ];
    const MORE: [&str; 6] = ["no", "No", "NO", "off", "Off", "OFF"];
    WORDS.contains(&text) || MORE.contains(&text) || is_number(text) || is_timestamp(text) || is_base60(text)
}

fn is_number(text: &str) -> bool {
    let plain = text.replace('_', "");
    let unsigned = plain.strip_prefix(['+', '-']).unwrap_or(&plain);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    for (prefix, radix) in [("0x", 16), ("0b", 2), ("0o", 8)] {
        if let Some(digits) = unsigned.strip_prefix(prefix) {
            return !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
        }
    }
    let starts = unsigned.starts_with(|c: char| c.is_ascii_digit())
        || (unsigned.starts_with('.') && unsigned[1..].starts_with(|c: char| c.is_ascii_digit()));
    starts && unsigned.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-')) && {
        unsigned.parse::<f64>().is_ok()
    }
}

fn is_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 8
        && bytes[..4].iter().all(u8::is_ascii_digit)
        && bytes[4] == b'-'
        && text[5..].starts_with(|c: char| c.is_ascii_digit())
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'-' | b':' | b'T' | b't' | b'Z' | b' ' | b'.' | b'+'))
        && text.matches('-').count() >= 2
}

/// Old sexagesimal numbers (`1:30`): other readers take them for integers.
fn is_base60(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = text.split(':');
    let first = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    !rest.is_empty()
        && !first.is_empty()
        && first.bytes().all(|b| b.is_ascii_digit())
        && rest.iter().all(|p| {
            let digits = p.trim_end_matches(|c: char| c == '.' || c.is_ascii_digit());
            digits.is_empty() && !p.is_empty() && p.split('.').next().is_some_and(|d| d.len() <= 2)
        })
}

fn is_plain(text: &str) -> bool {
    let first = text.as_bytes()[0];
    if text.starts_with([' ']) || text.ends_with([' ', ':']) || text.contains(": ") || text.contains(" #") {
        return false;
    }
    if text == "---" || text == "..." || text.starts_with("--- ") || text.starts_with("... ") {
        return false;
    }
    match first {
        b'-' | b'?' | b':' => text.len() > 1 && !text[1..].starts_with(' '),
        b'#' | b',' | b'[' | b']' | b'{' | b'}' | b'&' | b'*' | b'!' | b'|' | b'>' | b'\'' | b'"' | b'%' | b'@'
        | b'`' => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_several_lines() {
        for part in ["a\n  b: c", "a\u{2028}b", "a\u{2029}\nb", "a\u{feff}", "a\u{85}b\r"] {
            let value = serde_json::json!({ part: part });
            let mut text = Vec::new();
            encode(&value, &mut text);
            assert_eq!(parse(&text).unwrap().to_value(), value);
        }
    }

    #[test]
    fn keys_longer_than_a_simple_key_may_be() {
        for length in [128, 129, 2_000] {
            let key = "k".repeat(length);
            let value = serde_json::json!({ "a": { &key: { "b": [1] }, "z": key } });
            let mut text = Vec::new();
            encode(&value, &mut text);
            assert_eq!(text.windows(3).any(|w| w == b"? k"), length > 128);
            assert_eq!(parse(&text).unwrap().to_value(), value);
        }
    }

    #[test]
    fn keys_that_are_there_twice() {
        let text = "a: 1\nb:\n  - x: {y: 1, y: 2}\n    z: w\nc: 3\na:\n  b: 1\n";
        let said = duplicate_keys(text.as_bytes()).unwrap();
        let wanted = "error converting YAML to JSON: yaml: unmarshal errors:\n  line 3: key \"y\" already set in map\n  \
                      line 6: key \"a\" already set in map";
        assert_eq!(said, wanted);
        assert_eq!(duplicate_keys(b"{a: {a: 1}, b: [{a: 1}, {a: 2}]}"), None);
    }
}
