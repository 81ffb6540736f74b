//! URLs as Go's request URIs: absolute, or an absolute path.

use std::collections::BTreeMap;

use super::{Cost, ONE, Outcome, Row, fail, no_such_overload};
use crate::EvalError;
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
    ("url(string) -> URL", Cost::Scan(1), |a| match parse(a)? {
        Ok(url) => Ok(Value::Url(url.into())),
        Err(error) => fail(error),
    }),
    ("isURL(string) -> bool", Cost::Scan(1), |a| Ok(parse(a)?.is_ok().into())),
    ("URL::getScheme() -> string", ONE, |a| part(a, |u| u.scheme.as_str().into())),
    ("URL::getHost() -> string", ONE, |a| part(a, |u| u.host.as_str().into())),
    ("URL::getHostname() -> string", ONE, |a| part(a, |u| u.hostname().into())),
    ("URL::getPort() -> string", ONE, |a| part(a, |u| u.port().into())),
    ("URL::getEscapedPath() -> string", ONE, |a| part(a, |u| u.path.as_str().into())),
    ("URL::getQuery() -> map(string, list(string))", ONE, |a| part(a, Url::query)),
];

/// A parsed URL.
#[derive(Debug, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    /// With the port.
    host: String,
    /// Escaped.
    path: String,
    query: String,
}

fn part(args: &[Value], of: fn(&Url) -> Value) -> Outcome {
    match &args[0] {
        Value::Url(url) => Ok(of(url)),
        _ => no_such_overload(),
    }
}

fn parse(args: &[Value]) -> Result<Result<Url, String>, EvalError> {
    match &args[0] {
        Value::String(text) => Ok(Url::parse(text)),
        _ => no_such_overload(),
    }
}

impl Url {
    fn parse(text: &str) -> Result<Url, String> {
        let refuse = |why: &str| Err(format!("URL parse error during conversion from string: parse {text:?}: {why}"));
        if text.is_empty() {
            return refuse("empty url");
        }
        if text.chars().any(|c| c.is_control()) {
            return refuse("net/url: invalid control character in URL");
        }
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) => (scheme.to_ascii_lowercase(), rest),
            _ if text.starts_with('/') => (String::new(), text),
            _ => return refuse("invalid URI for request"),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (host, path) = match rest.strip_prefix("//") {
            Some(rest) if !scheme.is_empty() => {
                let at = rest.find('/').unwrap_or(rest.len());
                (&rest[..at], &rest[at..])
            }
            _ => ("", rest),
        };
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        if host.contains([' ', '<', '>', '"']) || !good_port(host) || !good_escapes(path) {
            return refuse("invalid character in host name or path");
        }
        Ok(Url { scheme, host: host.to_owned(), path: escape(path), query: query.to_owned() })
    }

    fn hostname(&self) -> &str {
        if let Some(rest) = self.host.strip_prefix('[') {
            return rest.split(']').next().unwrap_or_default();
        }
        self.host.split(':').next().unwrap_or_default()
    }

    fn port(&self) -> &str {
        self.host.rsplit_once(':').map_or("", |(_, port)| if port.contains(']') { "" } else { port })
    }

    fn query(&self) -> Value {
        let mut values: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for pair in self.query.split('&').filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            values.entry(unescape(key)).or_default().push(unescape(value).into());
        }
        Value::map(values.into_iter().map(|(k, v)| (k, v.into())))
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

fn good_port(host: &str) -> bool {
    let after = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((_, after)) => after,
            None => return false,
        },
        None => host.find(':').map_or("", |at| &host[at..]),
    };
    after.is_empty() || after.strip_prefix(':').is_some_and(|port| port.chars().all(|c| c.is_ascii_digit()))
}

fn good_escapes(path: &str) -> bool {
    path.split('%').skip(1).all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|b| b.is_ascii_hexdigit()))
}

/// Escapes what a path may not hold; escapes that are there stay.
fn escape(path: &str) -> String {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@%!'()*[]".contains(&b);
    path.bytes().map(|b| if fits(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = rest.as_slice_hex();
        match (byte, hex) {
            (b'+', _) => bytes.push(b' '),
            (b'%', Some(value)) => {
                bytes.push(value);
                rest.nth(1);
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The value of the two hexadecimal digits that come next.
trait NextHex {
    fn as_slice_hex(&self) -> Option<u8>;
}

impl NextHex for std::str::Bytes<'_> {
    fn as_slice_hex(&self) -> Option<u8> {
        let mut next = self.clone();
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        let (high, low) = (digit(next.next())?, digit(next.next())?);
        u8::try_from(high * 16 + low).ok()
    }
}
