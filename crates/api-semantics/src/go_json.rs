//! Whether bytes are JSON, with the words of Go's `encoding/json` when they are not.

/// `Err` holds Go's message.
pub(crate) fn check(bytes: &[u8]) -> Result<(), String> {
    let start = bytes.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(0);
    let number = bytes[start..].iter().take_while(|b| b.is_ascii_digit()).count();
    if let Some(next) = bytes.get(start + number).filter(|b| number > 0 && b.is_ascii_alphabetic() && **b != b'e') {
        return Err(format!("invalid character '{}' after top-level value", *next as char));
    }
    let mut stream = serde_json::Deserializer::from_slice(bytes).into_iter::<serde::de::IgnoredAny>();
    match stream.next() {
        None => Err("unexpected end of JSON input".to_owned()),
        Some(Ok(_)) => {
            let rest = &bytes[stream.byte_offset()..];
            match rest.iter().find(|b| !b.is_ascii_whitespace()) {
                Some(b) => Err(format!("invalid character '{}' after top-level value", *b as char)),
                None => Ok(()),
            }
        }
        Some(Err(e)) if e.is_eof() => Err("unexpected end of JSON input".to_owned()),
        Some(Err(e)) => {
            let at = bytes.get(e.column().saturating_sub(1)).or(bytes.first()).copied().unwrap_or(b' ');
            Err(format!("invalid character '{}' looking for beginning of value", at as char))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn messages() {
        assert_eq!(check(b"{}"), Ok(()));
        assert_eq!(check(b""), Err("unexpected end of JSON input".to_owned()));
        assert_eq!(check(b"Invalid"), Err("invalid character 'I' looking for beginning of value".to_owned()));
        assert_eq!(check(b"100m"), Err("invalid character 'm' after top-level value".to_owned()));
    }
}
