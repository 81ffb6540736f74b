//! What names, labels, ports and addresses must look like, in upstream's words (apimachinery `validation`).
//!
//! Each function returns the messages of what is wrong; an empty list means the text is fine.

use std::net::IpAddr;

pub(crate) use api_types::names::{
    dns1035_label, dns1123_label, dns1123_subdomain, label_value, path_segment, qualified_name,
};

const SUBDOMAIN_REGEX: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
pub(crate) const INVALID_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
pub(crate) const INVALID_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

type Messages = Vec<String>;

fn explain(what: &str, regex: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    format!("{what} (e.g. {} regex used for validation is '{regex}')", examples.join(" or ").trim_end())
}

fn too_long(max: usize, unit: &str) -> String {
    format!("must be no more than {max} {unit}")
}

fn alnum_lower(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

/// First and last byte satisfy `edge`, all satisfy `edge` or `inner`; not empty.
fn framed(text: &str, edge: fn(u8) -> bool, inner: &[u8]) -> bool {
    let b = text.as_bytes();
    match (b.first(), b.last()) {
        (Some(first), Some(last)) => edge(*first) && edge(*last) && b.iter().all(|c| edge(*c) || inner.contains(c)),
        _ => false,
    }
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(|p| framed(p, alnum_lower, b"-"))
}

/// A subdomain in which `_` is a letter, too (DNS search paths).
pub(crate) fn dns1123_subdomain_underscore(text: &str) -> Messages {
    let mut out = Vec::new();
    if text.len() > 253 {
        out.push(too_long(253, "characters"));
    }
    let fits = |p: &str| framed(p.strip_prefix('_').unwrap_or(p), alnum_lower, b"-_");
    if !text.split('.').all(fits) {
        out.push(explain(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character",
            r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*",
            &["example.com"],
        ));
    }
    out
}

/// `*.` and a subdomain.
pub(crate) fn wildcard_subdomain(text: &str) -> Messages {
    let mut out = Vec::new();
    if text.len() > 253 {
        out.push(too_long(253, "characters"));
    }
    if !text.strip_prefix("*.").is_some_and(is_subdomain) {
        out.push(explain(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            &format!(r"\*\.{SUBDOMAIN_REGEX}"),
            &["*.example.com"],
        ));
    }
    out
}

/// The name of a port (IANA service name).
pub(crate) fn port_name(text: &str) -> Messages {
    let mut out = Vec::new();
    if text.len() > 15 {
        out.push(too_long(15, "characters"));
    }
    if !text.bytes().all(|b| alnum_lower(b) || b == b'-') || text.is_empty() {
        out.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        out.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        out.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        out.push("must not begin or end with a hyphen".to_owned());
    }
    out
}

/// A key of a ConfigMap or Secret.
pub(crate) fn config_key(text: &str) -> Messages {
    let mut out = Vec::new();
    if text.len() > 253 {
        out.push(too_long(253, "characters"));
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if text.is_empty() || !text.bytes().all(fits) {
        out.push(explain(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    out.extend(no_dots(text));
    out
}

fn no_dots(text: &str) -> Messages {
    match text {
        "." => vec!["must not be '.'".to_owned()],
        ".." => vec!["must not be '..'".to_owned()],
        t if t.starts_with("..") => vec!["must not start with '..'".to_owned()],
        _ => Vec::new(),
    }
}

/// The name of an environment variable: printable ASCII without `=`.
pub(crate) fn env_var_name(text: &str) -> Messages {
    let printable = |b: u8| (0x20..=0x7e).contains(&b) && b != b'=';
    if text.is_empty() || !text.bytes().all(printable) {
        return vec![
            explain(
                "a valid environment variable name must consist only of printable ASCII characters other than '='",
                "^[ -<>-~]+$",
                &[],
            )
            .replace("(e.g. regex", "(regex"),
        ];
    }
    Vec::new()
}

pub(crate) fn http_header_name(text: &str) -> Messages {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return vec![explain(
            "a valid HTTP header must consist of alphanumeric characters or '-'",
            "[-A-Za-z0-9]+",
            &["X-Header-Name"],
        )];
    }
    Vec::new()
}

pub(crate) fn percent(text: &str) -> Messages {
    let digits = text.strip_suffix('%').unwrap_or("");
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return vec![explain(
            "a valid percent string must be a numeric string followed by an ending '%'",
            "[0-9]+%",
            &["1%", "93%"],
        )];
    }
    Vec::new()
}

/// A C identifier.
pub(crate) fn c_identifier(text: &str) -> Messages {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if text.is_empty() || text.as_bytes()[0].is_ascii_digit() || !text.bytes().all(word) {
        return vec![explain(
            "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
            "[A-Za-z_][A-Za-z0-9_]*",
            &["my_name", "MY_NAME", "MyName"],
        )];
    }
    Vec::new()
}

/// An IP address as upstream reads it: no zone, no leading zeros.
pub(crate) fn ip(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

/// An address and a prefix length.
pub(crate) fn cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let address = ip(address)?;
    let valid_digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
    let length: u8 = if valid_digits { length.parse().ok()? } else { return None };
    (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
}

/// Whether an address lies in a network.
pub(crate) fn contains(network: IpAddr, length: u8, address: IpAddr) -> bool {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(a) => (u128::from(u32::from(a)) << 96, true),
        IpAddr::V6(a) => (u128::from(a), false),
    };
    let ((a, a4), (b, b4)) = (bits(network), bits(address));
    let mask = if length == 0 { 0 } else { u128::MAX << (128 - u32::from(length)) };
    a4 == b4 && a & mask == b & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(
            http_header_name("a_b")[0],
            "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')"
        );
        assert!(cidr("10.0.0.0/33").is_none() && cidr("10.0.0.0/8").is_some());
        assert_eq!(port_name("HTTP").len(), 2);
        assert!(wildcard_subdomain("*.a.b").is_empty() && !wildcard_subdomain("a.b").is_empty());
    }
}
