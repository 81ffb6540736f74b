//! Go's duration text: `1h2m3.5s`, `100ms`, `0s`. Durations are signed nanoseconds.

/// A text that is no duration; reads as Go's `time.ParseDuration` error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("time: invalid duration {0:?}")]
    Invalid(String),
    #[error("time: missing unit in duration {0:?}")]
    MissingUnit(String),
    #[error("time: unknown unit {1:?} in duration {0:?}")]
    UnknownUnit(String, String),
}

/// Parses Go's form into nanoseconds.
pub fn parse(text: &str) -> Result<i64, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, after) = split(after, |c| !c.is_ascii_digit() && c != '.');
        let scale = match unit {
            "" if number.is_empty() => return Err(invalid()),
            "" => return Err(DurationError::MissingUnit(text.to_owned())),
            _ if number.is_empty() || number == "." => return Err(invalid()),
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000_i128,
            _ => return Err(DurationError::UnknownUnit(text.to_owned(), unit.to_owned())),
        };
        total = total.saturating_add(scaled(number, scale).ok_or_else(invalid)?);
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())
}

fn split(text: &str, take: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !take(c)).unwrap_or(text.len());
    text.split_at(end)
}

/// `number * scale`, the fraction cut to whole nanoseconds.
fn scaled(number: &str, scale: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || whole.len() > 19 {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction = &fraction[..fraction.len().min(18)];
    let part: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    Some(whole * scale + part * scale / 10_i128.pow(fraction.len() as u32))
}

/// Prints nanoseconds as Go does: `1h0m0s`, `1.5s`, `20ms`, `0s`.
pub fn format(nanos: i64) -> String {
    let magnitude = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    let text = match magnitude {
        0 => "0s".to_owned(),
        1..1_000 => format!("{magnitude}ns"),
        1_000..1_000_000 => format!("{}µs", decimal(magnitude, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(magnitude, 1_000_000)),
        _ => {
            let seconds = magnitude / 1_000_000_000;
            let small = decimal(magnitude % 60_000_000_000, 1_000_000_000);
            match (seconds / 3600, seconds / 60 % 60) {
                (0, 0) => format!("{small}s"),
                (0, minutes) => format!("{minutes}m{small}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{small}s"),
            }
        }
    };
    format!("{sign}{text}")
}

fn decimal(value: u64, unit: u64) -> String {
    let width = unit.ilog10() as usize;
    let fraction = format!("{:0width$}", value % unit);
    match fraction.trim_end_matches('0') {
        "" => (value / unit).to_string(),
        digits => format!("{}.{digits}", value / unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        for (text, printed) in [
            ("1h", "1h0m0s"),
            ("90m", "1h30m0s"),
            ("1.5s", "1.5s"),
            ("100ms", "100ms"),
            ("0", "0s"),
            ("-2m", "-2m0s"),
            ("1h2m3.25s", "1h2m3.25s"),
            ("1500us", "1.5ms"),
        ] {
            assert_eq!(format(parse(text).expect(text)), printed, "{text}");
        }
    }

    #[test]
    fn errors_read_as_in_go() {
        assert_eq!(parse("x").expect_err("x").to_string(), "time: invalid duration \"x\"");
        assert_eq!(parse("1").expect_err("1").to_string(), "time: missing unit in duration \"1\"");
        assert_eq!(parse("1d").expect_err("1d").to_string(), "time: unknown unit \"d\" in duration \"1d\"");
    }
}
