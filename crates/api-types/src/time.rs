//! RFC 3339 times in the two forms that the API prints: whole seconds (`Time`) and microseconds (`MicroTime`).

use jiff::Timestamp;

/// A text that is no time; reads as Go's `time.Parse` error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    #[error("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {wanted:?}")]
    Part { text: String, layout: &'static str, rest: String, wanted: &'static str },
    #[error("parsing time {text:?}: extra text: {rest:?}")]
    Extra { text: String, rest: String },
    #[error("parsing time {text:?}: {part} out of range")]
    Range { text: String, part: &'static str },
}

const RFC3339: &str = "2006-01-02T15:04:05Z07:00";
const RFC3339_MICRO: &str = "2006-01-02T15:04:05.000000Z07:00";

/// Parses RFC 3339 (any fraction of a second).
pub fn parse(text: &str) -> Result<Timestamp, TimeError> {
    parse_as(text, RFC3339)
}

/// Parses the microsecond form (upstream accepts any fraction).
pub fn parse_micro(text: &str) -> Result<Timestamp, TimeError> {
    parse_as(text, RFC3339_MICRO)
}

/// `2006-01-02T15:04:05Z`, the fraction cut off.
pub fn format(time: &Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `2006-01-02T15:04:05.000000Z`.
pub fn format_micro(time: &Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

fn parse_as(text: &str, layout: &'static str) -> Result<Timestamp, TimeError> {
    check(text, layout)?;
    let part = if text.get(11..13).is_some_and(|h| h > "23") { "hour" } else { "day" };
    text.parse().map_err(|_| TimeError::Range { text: text.to_owned(), part })
}

/// Finds the part that is wrong, in the order in which Go reads.
fn check(text: &str, layout: &'static str) -> Result<(), TimeError> {
    const PARTS: [(&str, usize); 11] = [
        ("2006", 4),
        ("-", 1),
        ("01", 2),
        ("-", 1),
        ("02", 2),
        ("T", 1),
        ("15", 2),
        (":", 1),
        ("04", 2),
        (":", 1),
        ("05", 2),
    ];
    let fail =
        |rest: &str, wanted| Err(TimeError::Part { text: text.to_owned(), layout, rest: rest.to_owned(), wanted });
    let mut rest = text;
    for (wanted, length) in PARTS {
        let Some(part) = rest.get(..length) else {
            return fail(rest, wanted);
        };
        let digits = wanted.as_bytes()[0].is_ascii_digit();
        let good = if digits { part.bytes().all(|b| b.is_ascii_digit()) } else { part == wanted };
        if !good {
            return fail(rest, wanted);
        }
        rest = &rest[length..];
    }
    if let Some(fraction) = rest.strip_prefix('.') {
        rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    let zone = if rest.starts_with('Z') { 1 } else { 6 };
    match rest.split_at_checked(zone) {
        Some((zone, extra)) if zone == "Z" || is_offset(zone) => match extra {
            "" => Ok(()),
            _ => Err(TimeError::Extra { text: text.to_owned(), rest: extra.to_owned() }),
        },
        _ => fail(rest, "Z07:00"),
    }
}

fn is_offset(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 6
        && matches!(bytes[0], b'+' | b'-')
        && bytes[3] == b':'
        && [1, 2, 4, 5].iter().all(|&i| bytes[i].is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_reports_as_go() {
        let time = parse("2026-01-02T03:04:05.987654321+01:00").expect("parses");
        assert_eq!(format(&time), "2026-01-02T02:04:05Z");
        assert_eq!(format_micro(&time), "2026-01-02T02:04:05.987654Z");
        assert_eq!(
            parse("yesterday").expect_err("no time").to_string(),
            "parsing time \"yesterday\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"yesterday\" as \"2006\""
        );
    }
}
