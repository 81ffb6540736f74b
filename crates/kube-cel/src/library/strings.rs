//! Functions of texts: CEL's own, the strings extension, and Kubernetes' regular expressions.

use super::{Cost, ONE, Outcome, Row, fail, no_such_overload, pattern};
use crate::EvalError;
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
    ("size(string) -> int", ONE, size),
    ("size(bytes) -> int", ONE, size),
    ("string::size() -> int", ONE, size),
    ("bytes::size() -> int", ONE, size),
    ("string(string) -> string", ONE, to_string),
    ("string(bool) -> string", ONE, to_string),
    ("string(int) -> string", ONE, to_string),
    ("string(uint) -> string", ONE, to_string),
    ("string(double) -> string", ONE, to_string),
    ("string(bytes) -> string", Cost::Scan(1), to_string),
    ("string(timestamp) -> string", ONE, to_string),
    ("string(duration) -> string", ONE, to_string),
    ("string(IP) -> string", ONE, to_string),
    ("string(CIDR) -> string", ONE, to_string),
    ("string::contains(string) -> bool", Cost::ScanProduct, |a| two(a, |s, t| Ok(s.contains(t).into()))),
    ("string::startsWith(string) -> bool", Cost::Scan(1), |a| two(a, |s, t| Ok(s.starts_with(t).into()))),
    ("string::endsWith(string) -> bool", Cost::Scan(1), |a| two(a, |s, t| Ok(s.ends_with(t).into()))),
    ("string::matches(string) -> bool", Cost::Regex, matches),
    ("matches(string, string) -> bool", Cost::Regex, matches),
    ("string::find(string) -> string", Cost::Regex, find),
    ("string::findAll(string) -> list(string)", Cost::Regex, find_all),
    ("string::findAll(string, int) -> list(string)", Cost::Regex, find_all),
    ("string::charAt(int) -> string", ONE, char_at),
    ("string::indexOf(string) -> int", Cost::Traverse, |a| position(a, false)),
    ("string::indexOf(string, int) -> int", Cost::Traverse, |a| position(a, false)),
    ("string::lastIndexOf(string) -> int", Cost::Traverse, |a| position(a, true)),
    ("string::lastIndexOf(string, int) -> int", Cost::Traverse, |a| position(a, true)),
    ("string::lowerAscii() -> string", Cost::Scan(1), |a| Ok(text(a, 0)?.to_ascii_lowercase().into())),
    ("string::upperAscii() -> string", Cost::Scan(1), |a| Ok(text(a, 0)?.to_ascii_uppercase().into())),
    ("string::replace(string, string) -> string", Cost::Scan(2), replace),
    ("string::replace(string, string, int) -> string", Cost::Scan(2), replace),
    ("string::split(string) -> list(string)", Cost::Scan(2), split),
    ("string::split(string, int) -> list(string)", Cost::Scan(2), split),
    ("string::substring(int) -> string", Cost::Scan(1), substring),
    ("string::substring(int, int) -> string", Cost::Scan(1), substring),
    ("string::trim() -> string", Cost::Scan(1), |a| Ok(text(a, 0)?.trim().into())),
    ("list(string)::join() -> string", Cost::Result, join),
    ("list(string)::join(string) -> string", Cost::Result, join),
    ("string::format(list(dyn)) -> string", Cost::Scan(1), format),
    ("strings.quote(string) -> string", Cost::Scan(1), quote),
    ("jsonpatch.escapeKey(string) -> string", Cost::Scan(1), |a| {
        Ok(text(a, 0)?.replace('~', "~0").replace('/', "~1").into())
    }),
];

fn text(args: &[Value], at: usize) -> Result<&str, EvalError> {
    match args.get(at) {
        Some(Value::String(text)) => Ok(text),
        _ => no_such_overload(),
    }
}

fn number(args: &[Value], at: usize) -> Result<Option<i64>, EvalError> {
    match args.get(at) {
        None => Ok(None),
        Some(Value::Int(n)) => Ok(Some(*n)),
        Some(_) => no_such_overload(),
    }
}

fn two(args: &[Value], run: fn(&str, &str) -> Outcome) -> Outcome {
    run(text(args, 0)?, text(args, 1)?)
}

fn size(args: &[Value]) -> Outcome {
    match &args[0] {
        Value::String(text) => Ok(Value::Int(text.chars().count() as i64)),
        Value::Bytes(bytes) => Ok(Value::Int(bytes.len() as i64)),
        _ => no_such_overload(),
    }
}

fn to_string(args: &[Value]) -> Outcome {
    Ok(match &args[0] {
        Value::String(_) => args[0].clone(),
        Value::Bool(b) => b.to_string().into(),
        Value::Int(i) => i.to_string().into(),
        Value::Uint(u) => u.to_string().into(),
        Value::Double(d) => d.to_string().into(),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => return fail("invalid UTF-8 in bytes, cannot convert to string"),
        },
        Value::Timestamp(time) => time.to_string().into(),
        Value::Duration(nanos) => format!("{}s", *nanos as f64 / 1e9).into(),
        Value::Ip(ip) => ip.to_string().into(),
        Value::Cidr(cidr) => cidr.to_string().into(),
        _ => return no_such_overload(),
    })
}

fn matches(args: &[Value]) -> Outcome {
    two(args, |s, p| Ok(pattern(p)?.is_match(s).into()))
}

fn find(args: &[Value]) -> Outcome {
    two(args, |s, p| Ok(pattern(p)?.find(s).map_or("", |m| m.as_str()).into()))
}

fn find_all(args: &[Value]) -> Outcome {
    let (s, p, limit) = (text(args, 0)?, text(args, 1)?, number(args, 2)?);
    let limit = limit.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    Ok(pattern(p)?.find_iter(s).take(limit).map(|m| Value::from(m.as_str())).collect::<Vec<_>>().into())
}

fn char_at(args: &[Value]) -> Outcome {
    let (s, at) = (text(args, 0)?, number(args, 1)?.unwrap_or_default());
    let length = s.chars().count();
    match usize::try_from(at) {
        Ok(at) if at <= length => Ok(s.chars().nth(at).map_or(String::new(), String::from).into()),
        _ => fail(format!("index out of range: {at}")),
    }
}

/// `indexOf` and `lastIndexOf`: counted in characters, -1 for none.
fn position(args: &[Value], last: bool) -> Outcome {
    let (s, part, start) = (text(args, 0)?, text(args, 1)?, number(args, 2)?);
    let (s, part): (Vec<char>, Vec<char>) = (s.chars().collect(), part.chars().collect());
    let start = match start.map(usize::try_from) {
        None => None,
        Some(Ok(start)) if start <= s.len() => Some(start),
        Some(_) => return fail(format!("index out of range: {}", start.unwrap_or_default())),
    };
    let at = |i: &usize| s[*i..].starts_with(&part);
    let end = s.len().checked_sub(part.len());
    let found = match (end, last) {
        (None, _) => None,
        (Some(end), false) => (start.unwrap_or(0)..=end).find(at),
        (Some(end), true) => (0..=start.map_or(end, |s| s.min(end))).rev().find(at),
    };
    Ok(Value::Int(found.map_or(-1, |i| i as i64)))
}

fn replace(args: &[Value]) -> Outcome {
    let (s, from, to) = (text(args, 0)?, text(args, 1)?, text(args, 2)?);
    match number(args, 3)?.and_then(|n| usize::try_from(n).ok()) {
        Some(count) => Ok(s.replacen(from, to, count).into()),
        None => Ok(s.replace(from, to).into()),
    }
}

fn split(args: &[Value]) -> Outcome {
    let (s, by, limit) = (text(args, 0)?, text(args, 1)?, number(args, 2)?);
    let parts = |limit: usize| -> Vec<Value> {
        if by.is_empty() {
            let mut rest = s.chars();
            let mut parts: Vec<Value> =
                rest.by_ref().take(limit.saturating_sub(1)).map(|c| c.to_string().into()).collect();
            if !rest.as_str().is_empty() {
                parts.push(rest.as_str().into());
            }
            return parts;
        }
        s.splitn(limit, by).map(Value::from).collect()
    };
    Ok(match limit {
        Some(0) => Vec::new(),
        Some(n) if n > 0 => parts(n as usize),
        _ => parts(usize::MAX),
    }
    .into())
}

fn substring(args: &[Value]) -> Outcome {
    let (s, from) = (text(args, 0)?, number(args, 1)?.unwrap_or_default());
    let characters: Vec<char> = s.chars().collect();
    let to = number(args, 2)?.unwrap_or(characters.len() as i64);
    if from > to {
        return fail(format!("invalid substring range. start: {from}, end: {to}"));
    }
    for at in [from, to] {
        if usize::try_from(at).map_or(true, |at| at > characters.len()) {
            return fail(format!("index out of range: {at}"));
        }
    }
    Ok(characters[from as usize..to as usize].iter().collect::<String>().into())
}

fn join(args: &[Value]) -> Outcome {
    let Value::List(list) = &args[0] else { return no_such_overload() };
    let separator = if args.len() > 1 { text(args, 1)? } else { "" };
    let parts: Vec<&str> = (0..list.items.len()).map(|i| text(&list.items, i)).collect::<Result<_, _>>()?;
    Ok(parts.join(separator).into())
}

fn quote(args: &[Value]) -> Outcome {
    let mut quoted = String::from("\"");
    for character in text(args, 0)?.chars() {
        match character {
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\u{b}' => quoted.push_str("\\v"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '"' | '\\' => quoted.extend(['\\', character]),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    Ok(quoted.into())
}

/// `%s %d %f %e %b %o %x %X` with a precision, as the strings extension has them.
fn format(args: &[Value]) -> Outcome {
    let (layout, Value::List(list)) = (text(args, 0)?, &args[1]) else { return no_such_overload() };
    let mut out = String::new();
    let mut values = list.items.iter();
    let mut rest = layout.chars().peekable();
    while let Some(character) = rest.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let mut precision = None;
        if rest.next_if_eq(&'.').is_some() {
            let digits: String = std::iter::from_fn(|| rest.next_if(char::is_ascii_digit)).collect();
            precision = Some(digits.parse::<usize>().unwrap_or(6).min(100));
        }
        let Some(clause) = rest.next() else { return fail("unexpected end of string") };
        if clause == '%' {
            out.push('%');
            continue;
        }
        let Some(value) = values.next() else { return fail(format!("index {} out of range", list.items.len())) };
        out.push_str(&clause_text(clause, precision, value)?);
    }
    Ok(out.into())
}

fn clause_text(clause: char, precision: Option<usize>, value: &Value) -> Result<String, EvalError> {
    let wrong = || {
        fail(format!(
            "could not parse formatting clause: unrecognized formatting clause \"{clause}\" for {}",
            value.type_name()
        ))
    };
    Ok(match (clause, value) {
        ('s', value) => display(value),
        ('d', Value::Int(i)) => i.to_string(),
        ('d', Value::Uint(u)) => u.to_string(),
        ('d', Value::Double(d)) => d.to_string(),
        ('f', value) => match value {
            Value::Double(d) => format!("{d:.*}", precision.unwrap_or(6)),
            Value::Int(i) => format!("{:.*}", precision.unwrap_or(6), *i as f64),
            _ => return wrong(),
        },
        ('e', Value::Double(d)) => scientific(*d, precision.unwrap_or(6)),
        ('b', Value::Int(i)) => format!("{i:b}"),
        ('b', Value::Uint(i)) => format!("{i:b}"),
        ('b', Value::Bool(b)) => u8::from(*b).to_string(),
        ('o', Value::Int(i)) => format!("{i:o}"),
        ('o', Value::Uint(i)) => format!("{i:o}"),
        ('x', Value::Int(i)) => format!("{i:x}"),
        ('x', Value::Uint(i)) => format!("{i:x}"),
        ('X', Value::Int(i)) => format!("{i:X}"),
        ('X', Value::Uint(i)) => format!("{i:X}"),
        ('x', Value::String(s)) => s.bytes().map(|b| format!("{b:02x}")).collect(),
        ('X', Value::String(s)) => s.bytes().map(|b| format!("{b:02X}")).collect(),
        ('x', Value::Bytes(s)) => s.iter().map(|b| format!("{b:02x}")).collect(),
        ('X', Value::Bytes(s)) => s.iter().map(|b| format!("{b:02X}")).collect(),
        _ => return wrong(),
    })
}

fn scientific(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |e| ('-', e));
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => text,
    }
}

/// A value in a formatted text.
fn display(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::List(list) => format!("[{}]", list.items.iter().map(display).collect::<Vec<_>>().join(", ")),
        Value::Map(map) => {
            let entries: Vec<String> = map.iter().map(|(k, v)| format!("{k}: {}", display(v))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Type(name) => name.to_string(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => match to_string(std::slice::from_ref(other)) {
            Ok(Value::String(text)) => text.to_string(),
            _ => other.type_name().to_owned(),
        },
    }
}
