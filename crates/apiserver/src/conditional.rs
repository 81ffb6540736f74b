//! Documents that clients keep: each answer has an entity tag, and who has that version already gets 304 and no body.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use jiff::fmt::rfc2822::DateTimePrinter;

use crate::{respond, server::Body};

/// How long a client may keep the answer without asking again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// It asks each time.
    Never,
    /// Anybody may keep it, and asks each time.
    Shared,
    /// The address has the version in it, so that it never changes.
    Forever,
}

/// The answer with `tag` (unquoted) as the version of `body`.
pub(crate) fn answer(
    headers: &HeaderMap,
    content_type: &'static str,
    body: Bytes,
    tag: &str,
    keep: Keep,
) -> Response<Body> {
    let quoted = format!("\"{tag}\"");
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok());
    let known = known.flat_map(|v| v.split(',')).any(|v| matches!(v.trim(), v if v == quoted || v == "*"));
    let mut response = if known {
        respond::bytes(StatusCode::NOT_MODIFIED, content_type, Bytes::new())
    } else {
        respond::maybe_compressed(headers, StatusCode::OK, content_type, body)
    };
    set(&mut response, header::ETAG, &quoted);
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept"));
    match keep {
        Keep::Never => {}
        Keep::Shared => set(&mut response, header::CACHE_CONTROL, "public"),
        Keep::Forever => {
            set(&mut response, header::CACHE_CONTROL, "public, immutable");
            let expires = DateTimePrinter::new().timestamp_to_rfc9110_string(&(component_base::clock::now() + YEAR));
            set(&mut response, header::EXPIRES, &expires.unwrap_or_default());
        }
    }
    response
}

const YEAR: jiff::SignedDuration = jiff::SignedDuration::from_hours(365 * 24);

fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
