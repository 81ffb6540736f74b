//! A JSON parser that keeps what a `serde_json::Value` loses: the order of keys and duplicates. Its error texts are those
//! of Go's `encoding/json`.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

/// Nesting beyond this is refused, as in Go.
pub const MAX_DEPTH: usize = 10_000;
/// What the decoder, which recurses, allows: deeper objects are no Kubernetes objects.
const STACK_DEPTH: usize = 512;

/// A parsed document, with keys in the order of the text.
#[derive(Clone, Debug, PartialEq)]
pub enum Doc<'a> {
    Null,
    Bool(bool),
    /// The number as written.
    Number(Cow<'a, str>),
    String(Cow<'a, str>),
    Array(Vec<Doc<'a>>),
    Object(Vec<(Cow<'a, str>, Doc<'a>)>),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SyntaxError(pub String);

impl Doc<'_> {
    /// The member of an object; the last one when there are several.
    pub fn get(&self, name: &str) -> Option<&Doc<'_>> {
        match self {
            Doc::Object(members) => members.iter().rev().find(|(k, _)| k == name).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Doc::String(text) => Some(text),
            _ => None,
        }
    }

    /// The value without schema: integers stay integers, the last of duplicate keys wins.
    pub fn to_value(&self) -> Value {
        match self {
            Doc::Null => Value::Null,
            Doc::Bool(b) => Value::Bool(*b),
            Doc::Number(text) => number(text).map_or(Value::Null, Value::Number),
            Doc::String(text) => Value::String(text.clone().into_owned()),
            Doc::Array(items) => Value::Array(items.iter().map(Doc::to_value).collect()),
            Doc::Object(members) => {
                Value::Object(members.iter().map(|(k, v)| (k.clone().into_owned(), v.to_value())).collect())
            }
        }
    }

    /// How Go's error texts call this kind of value.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Doc::Null => "null",
            Doc::Bool(_) => "bool",
            Doc::Number(_) => "number",
            Doc::String(_) => "string",
            Doc::Array(_) => "array",
            Doc::Object(_) => "object",
        }
    }
}

impl<'a> From<&'a Value> for Doc<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Doc::Null,
            Value::Bool(b) => Doc::Bool(*b),
            Value::Number(n) => Doc::Number(Cow::Owned(n.to_string())),
            Value::String(text) => Doc::String(Cow::Borrowed(text)),
            Value::Array(items) => Doc::Array(items.iter().map(Doc::from).collect()),
            Value::Object(members) => {
                Doc::Object(members.iter().map(|(k, v)| (Cow::Borrowed(k.as_str()), Doc::from(v))).collect())
            }
        }
    }
}

/// An integer when it is one that fits, else a double.
pub(crate) fn number(text: &str) -> Option<Number> {
    if let Ok(n) = text.parse::<i64>() {
        return Some(n.into());
    }
    text.parse::<f64>().ok().and_then(Number::from_f64)
}

/// A double in its one normalized form: whole numbers are integers, as they print.
pub(crate) fn double(value: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < EXACT { Value::from(value as i64) } else { Value::from(value) }
}

/// Parses one JSON document.
pub fn parse(text: &[u8]) -> Result<Doc<'_>, SyntaxError> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    let doc = parser.value()?;
    parser.space();
    match parser.peek() {
        None => Ok(doc),
        Some(_) => Err(parser.invalid("after top-level value")),
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

type Parsed<T> = Result<T, SyntaxError>;

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    fn invalid(&self, context: &str) -> SyntaxError {
        match self.peek() {
            None => SyntaxError("unexpected end of JSON input".to_owned()),
            Some(byte) => SyntaxError(format!("invalid character {} {context}", quoted(byte))),
        }
    }

    fn value(&mut self) -> Parsed<Doc<'a>> {
        self.space();
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => Ok(Doc::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => Ok(Doc::Number(Cow::Borrowed(self.number()?))),
            Some(b't') => self.literal("true", Doc::Bool(true)),
            Some(b'f') => self.literal("false", Doc::Bool(false)),
            Some(b'n') => self.literal("null", Doc::Null),
            _ => Err(self.invalid("looking for beginning of value")),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Parsed<Doc<'a>>) -> Parsed<Doc<'a>> {
        self.depth += 1;
        if self.depth > STACK_DEPTH {
            return Err(SyntaxError("exceeded max depth".to_owned()));
        }
        self.at += 1;
        let doc = read(self)?;
        self.depth -= 1;
        Ok(doc)
    }

    fn literal(&mut self, word: &'static str, doc: Doc<'a>) -> Parsed<Doc<'a>> {
        for (index, expected) in word.bytes().enumerate() {
            if self.peek() != Some(expected) {
                debug_assert!(index > 0, "the first byte chose the literal");
                return Err(self.invalid(&format!("in literal {word} (expecting {})", quoted(expected))));
            }
            self.at += 1;
        }
        Ok(doc)
    }

    fn number(&mut self) -> Parsed<&'a str> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.invalid("in numeric literal")),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits("after decimal point in numeric literal")?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.some_digits("in exponent of numeric literal")?;
        }
        Ok(std::str::from_utf8(&self.text[start..self.at]).unwrap_or("0"))
    }

    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
    }

    fn some_digits(&mut self, context: &str) -> Parsed<()> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.invalid(context));
        }
        self.digits();
        Ok(())
    }

    /// A string; invalid UTF-8 becomes U+FFFD, as in Go.
    fn string(&mut self) -> Parsed<Cow<'a, str>> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let raw = &self.text[start..self.at];
                    self.at += 1;
                    return Ok(String::from_utf8_lossy(raw));
                }
                Some(b'\\') => return self.escaped_string(start),
                Some(0..0x20) => return Err(self.invalid("in string literal")),
                None => return Err(self.invalid("")),
                Some(_) => self.at += 1,
            }
        }
    }

    fn escaped_string(&mut self, start: usize) -> Parsed<Cow<'a, str>> {
        let mut out = self.text[start..self.at].to_vec();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(String::from_utf8_lossy(&out).into_owned()));
                }
                Some(b'\\') => {
                    self.at += 1;
                    let c = self.escape()?;
                    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Some(0..0x20) => return Err(self.invalid("in string literal")),
                None => return Err(self.invalid("")),
                Some(byte) => {
                    out.push(byte);
                    self.at += 1;
                }
            }
        }
    }

    fn escape(&mut self) -> Parsed<char> {
        let byte = self.peek();
        let c = match byte {
            Some(b'"' | b'\\' | b'/') => byte.map_or('"', char::from),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err(self.invalid("in string escape code")),
        };
        self.at += 1;
        Ok(c)
    }

    /// After `\u`: four hex digits, and the second half of a surrogate pair where there is one.
    fn unicode(&mut self) -> Parsed<char> {
        let first = self.hex4()?;
        if let Some(c) = char::from_u32(first) {
            return Ok(c);
        }
        if first < 0xdc00 && self.text[self.at..].starts_with(b"\\u") {
            let back = self.at;
            self.at += 2;
            let second = self.hex4()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = back;
        }
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn hex4(&mut self) -> Parsed<u32> {
        let mut code = 0;
        for _ in 0..4 {
            let Some(digit) = self.peek().and_then(|b| char::from(b).to_digit(16)) else {
                return Err(self.invalid("in \\u hexadecimal character escape"));
            };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }

    fn array(&mut self) -> Parsed<Doc<'a>> {
        let mut items = Vec::new();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Doc::Array(items));
        }
        loop {
            items.push(self.value()?);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Doc::Array(items));
                }
                _ => return Err(self.invalid("after array element")),
            }
        }
    }

    fn object(&mut self) -> Parsed<Doc<'a>> {
        let mut members = Vec::new();
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Doc::Object(members));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.invalid("looking for beginning of object key string"));
            }
            let key = self.string()?;
            self.space();
            if self.peek() != Some(b':') {
                return Err(self.invalid("after object key"));
            }
            self.at += 1;
            members.push((key, self.value()?));
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Doc::Object(members));
                }
                _ => return Err(self.invalid("after object key:value pair")),
            }
        }
    }
}

/// A byte as Go's scanner quotes it.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        0..0x20 | 0x7f => format!("'\\x{byte:02x}'"),
        _ => format!("'{}'", char::from(byte)),
    }
}

/// Any self-describing format (YAML) becomes a document.
impl<'de> Deserialize<'de> for Doc<'static> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DocVisitor)
    }
}

struct DocVisitor;

impl<'de> Visitor<'de> for DocVisitor {
    type Value = Doc<'static>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Self::Value, E> {
        Ok(Doc::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Self::Value, E> {
        Ok(Doc::Number(Cow::Owned(v.to_string())))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Self::Value, E> {
        Ok(Doc::Number(Cow::Owned(v.to_string())))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Self::Value, E> {
        Ok(Doc::Number(Cow::Owned(serde_json::to_string(&v).unwrap_or_default())))
    }

    fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
        Ok(Doc::String(Cow::Owned(v.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Doc::Null)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Doc::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Doc::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((key, value)) = map.next_entry::<Doc<'static>, Doc<'static>>()? {
            members.push((key_text(key), value));
        }
        Ok(Doc::Object(members))
    }
}

/// YAML keys that are not strings become strings, as sigs.k8s.io/yaml makes them.
fn key_text(key: Doc<'static>) -> Cow<'static, str> {
    match key {
        Doc::String(text) | Doc::Number(text) => text,
        Doc::Bool(b) => Cow::Borrowed(if b { "true" } else { "false" }),
        _ => Cow::Borrowed("null"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text.as_bytes()).expect_err(text).0
    }

    #[test]
    fn errors_read_as_in_go() {
        assert_eq!(error("not json"), "invalid character 'o' in literal null (expecting 'u')");
        assert_eq!(error(""), "unexpected end of JSON input");
        assert_eq!(error("{\"a\":1,}"), "invalid character '}' looking for beginning of object key string");
        assert_eq!(error("[1 2]"), "invalid character '2' after array element");
        assert_eq!(error("{} x"), "invalid character 'x' after top-level value");
        assert_eq!(error("\"\n\""), "invalid character '\\n' in string literal");
        assert_eq!(error(&"[".repeat(100_000)), "exceeded max depth");
    }

    #[test]
    fn keeps_order_and_duplicates() {
        let doc = parse(br#"{"b":1,"a":"\u00e9\ud83d\ude00","b":2.50}"#).expect("parses");
        let Doc::Object(members) = &doc else { panic!("no object") };
        assert_eq!(members.iter().map(|(k, _)| k.as_ref()).collect::<Vec<_>>(), ["b", "a", "b"]);
        assert_eq!(doc.to_value(), serde_json::json!({"a": "é😀", "b": 2.5}));
    }
}
