//! Times as people read them, with upstream's roundings.

use jiff::Timestamp;

/// A span of seconds as upstream prints ages: `5s`, `3m20s`, `2d3h`, `400d`, `2y10d`.
pub fn human(seconds: i64) -> String {
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    if seconds < 0 {
        return "0s".to_owned();
    }
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let two = |a: i64, ua: &str, b: i64, ub: &str| if b == 0 { format!("{a}{ua}") } else { format!("{a}{ua}{b}{ub}") };
    match (minutes, hours) {
        _ if seconds < 120 => format!("{seconds}s"),
        (m, _) if m < 10 => two(m, "m", seconds % 60, "s"),
        (m, _) if m < 180 => format!("{m}m"),
        (m, h) if h < 8 => two(h, "h", m % 60, "m"),
        (_, h) if h < 48 => format!("{h}h"),
        (_, h) if h < 24 * 8 => two(h / 24, "d", h % 24, "h"),
        (_, h) if h < 24 * 365 * 2 => format!("{}d", h / 24),
        (_, h) if h < 24 * 365 * 8 => two(h / 24 / 365, "y", (h / 24) % 365, "d"),
        (_, h) => format!("{}y", h / 24 / 365),
    }
}

/// How long ago an RFC 3339 time was; `<unknown>` when there is none.
pub fn since(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(then) => human(now.as_second() - then.as_second()),
        Err(_) => "<unknown>".to_owned(),
    }
}

/// The wall clock.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// An RFC 3339 time as `describe` prints it: `Mon, 02 Jan 2006 15:04:05 +0000`.
pub fn rfc1123(time: &str) -> String {
    match time.parse::<Timestamp>() {
        Ok(then) => then.to_zoned(jiff::tz::TimeZone::system()).strftime("%a, %d %b %Y %H:%M:%S %z").to_string(),
        Err(_) => String::new(),
    }
}

/// Seconds in Go's notation: `1m30s`, `5s`, `1h0m0s`.
pub fn go(seconds: i64) -> String {
    match seconds {
        s if s < 60 => format!("{s}s"),
        s if s < 3600 => format!("{}m{}s", s / 60, s % 60),
        s => format!("{}h{}m{}s", s / 3600, s / 60 % 60, s % 60),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn ages() {
        for (seconds, want) in [
            (-5, "<invalid>"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (200, "3m20s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (10_860, "3h1m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (176_400, "2d1h"),
            (8 * 86_400, "8d"),
            (729 * 86_400, "729d"),
            (730 * 86_400, "2y"),
            (740 * 86_400, "2y10d"),
            (3650 * 86_400, "10y"),
        ] {
            assert_eq!(super::human(seconds), want, "{seconds}");
        }
    }
}
