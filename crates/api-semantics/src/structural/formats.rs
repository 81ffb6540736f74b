//! The string formats that schemas may name. Formats that upstream does not know are ignored, as there.

/// Whether a text has the format; none when the format is unknown.
pub(super) fn matches(format: &str, text: &str) -> Option<bool> {
    Some(match format {
        "date-time" | "datetime" => api_types::time::parse(text).is_ok(),
        "date" => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
        "duration" => api_types::duration::parse(text).is_ok(),
        "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "mac" => is_mac(text),
        "uuid" | "uuid3" | "uuid4" | "uuid5" => is_uuid(text, format),
        "byte" => is_base64(text),
        "email" => is_email(text),
        "hostname" => api_types::names::dns1123_subdomain(&text.to_lowercase()).is_empty(),
        "uri" => is_uri(text),
        "hexcolor" => is_hex_color(text),
        "password" | "binary" => true,
        _ => return None,
    })
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let (Ok(address), Ok(bits)) = (address.parse::<std::net::IpAddr>(), bits.parse::<u8>()) else { return false };
    bits <= if address.is_ipv4() { 32 } else { 128 }
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    matches!(parts.len(), 6 | 8) && parts.iter().all(|p| p.len() == 2 && is_hex(p))
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_uuid(text: &str, format: &str) -> bool {
    let plain = text.replace('-', "");
    let version = format.strip_prefix("uuid").unwrap_or_default();
    plain.len() == 32 && is_hex(&plain) && (version.is_empty() || plain.get(12..13) == Some(version))
}

fn is_base64(text: &str) -> bool {
    use base64::Engine;
    !text.is_empty() && base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}

fn is_email(text: &str) -> bool {
    text.rsplit_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !text.contains(' '))
}

fn is_uri(text: &str) -> bool {
    text.starts_with('/')
        || text.split_once(':').is_some_and(|(scheme, _)| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        })
}

fn is_hex_color(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or(text);
    matches!(digits.len(), 3 | 6) && is_hex(digits)
}
