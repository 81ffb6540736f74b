//! The `continue` tokens of paged lists, in upstream's form.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

use crate::error::{Error, Result};

/// As lenient as Go's decoder: the last bits may be anything.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Where a list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// The state that all pages show; `None` goes on in the newest.
    pub(crate) revision: Option<u64>,
    /// The last key of the page before, below the resource's prefix; empty for the beginning.
    pub(crate) after: String,
}

impl Token {
    pub(crate) fn encode(&self) -> String {
        let rv = self.revision.map_or(-1, u64::cast_signed);
        let token = json!({ "v": "meta.k8s.io/v1", "rv": rv, "start": format!("{}\u{0}", self.after) });
        URL_SAFE_NO_PAD.encode(token.to_string())
    }

    pub(crate) fn decode(text: &str) -> Result<Token> {
        let bad = |why: String| Error::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
        let bytes = LENIENT.decode(text).map_err(|e| bad(e.to_string()))?;
        let token: Value = serde_json::from_slice(&bytes).map_err(|_| bad(go_json_error(&bytes)))?;
        if token.get("v").and_then(Value::as_str) != Some("meta.k8s.io/v1") {
            return Err(bad("server does not recognize this encoded version".to_owned()));
        }
        let start = token.get("start").and_then(Value::as_str).unwrap_or_default();
        if start.is_empty() || start.starts_with('/') || start.contains("..") {
            return Err(bad(format!("invalid start key {start:?}")));
        }
        let revision = token.get("rv").and_then(Value::as_i64).unwrap_or(0);
        Ok(Token {
            revision: u64::try_from(revision).ok().filter(|r| *r > 0),
            after: start.trim_end_matches('\0').to_owned(),
        })
    }
}

/// What Go's decoder says of bytes that do not begin a value.
fn go_json_error(bytes: &[u8]) -> String {
    match bytes.first() {
        None => "unexpected end of JSON input".to_owned(),
        Some(b) if b.is_ascii_graphic() => {
            format!("invalid character '{}' looking for beginning of value", char::from(*b))
        }
        Some(b) => format!("invalid character '\\x{b:02x}' looking for beginning of value"),
    }
}

/// 410 for a token whose state is gone, with a token that goes on in the newest.
pub(crate) fn expired(after: &str) -> Error {
    let message = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";
    let mut error = Error::expired(message);
    error.continue_token = Token { revision: None, after: after.to_owned() }.encode();
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip_and_nonsense_is_refused() {
        let token = Token { revision: Some(7), after: "ns/name".into() };
        assert_eq!(Token::decode(&token.encode()).ok(), Some(token));
        let error = Token::decode("garbage").expect_err("no token");
        assert!(error.message.contains(r"invalid character '\x81' looking for beginning of value"), "{error}");
    }
}
