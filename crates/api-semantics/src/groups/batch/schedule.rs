//! Cron schedules and time zones, with the words of upstream's parser (`robfig/cron`).

use crate::field::{Errors, Field};

const DESCRIPTORS: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// The smallest and largest number of each field: minute, hour, day of month, month, day of week.
const BOUNDS: [(u32, u32); 5] = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)];

pub(super) fn validate(schedule: &Field, has_time_zone: bool, errors: &mut Errors) {
    let text = schedule.str();
    if let Err(problem) = parse(text) {
        errors.invalid(schedule, problem);
    }
    if text.contains("TZ") {
        let words = if has_time_zone {
            "cannot use both timeZone field and TZ or CRON_TZ in schedule"
        } else {
            "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        };
        errors.invalid(schedule, words);
    }
}

fn parse(text: &str) -> Result<(), String> {
    let text = match text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ=")) {
        Some(rest) => rest.split_once(' ').map_or("", |(_, r)| r).trim(),
        None => text,
    };
    if text.starts_with('@') {
        let interval = text.strip_prefix("@every ");
        let known = DESCRIPTORS.contains(&text) || interval.is_some_and(|i| api_types::duration::parse(i).is_ok());
        return if known { Ok(()) } else { Err(format!("unrecognized descriptor: {text}")) };
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != 5 {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    for (i, field) in fields.iter().enumerate() {
        for part in field.split(',') {
            range(part, i)?;
        }
    }
    Ok(())
}

/// `*`, `n`, `a-b`, each with an optional `/step`.
fn range(text: &str, field: usize) -> Result<(), String> {
    let (low, high) = BOUNDS[field];
    let (interval, step) = text.split_once('/').map_or((text, None), |(i, s)| (i, Some(s)));
    if step.is_some_and(|s| s.contains('/')) {
        return Err(format!("too many slashes: {text}"));
    }
    let (start, end) = match interval.split_once('-') {
        _ if interval == "*" || interval == "?" => (low, high),
        None => {
            let n = number(interval, field)?;
            (n, if step.is_some() { high } else { n })
        }
        Some((_, b)) if b.contains('-') => return Err(format!("too many hyphens: {text}")),
        Some((a, b)) => (number(a, field)?, number(b, field)?),
    };
    if let Some(step) = step {
        let parsed: u32 = step.parse().map_err(|_| atoi(step))?;
        if parsed == 0 {
            return Err(format!("step of range should be a positive number: {text}"));
        }
    }
    if start < low {
        return Err(format!("beginning of range ({start}) below minimum ({low}): {text}"));
    }
    if end > high {
        return Err(format!("end of range ({end}) above maximum ({high}): {text}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    Ok(())
}

fn atoi(text: &str) -> String {
    format!("failed to parse int from {text}: strconv.Atoi: parsing \"{text}\": invalid syntax")
}

fn number(text: &str, field: usize) -> Result<u32, String> {
    let names: &[&str] = match field {
        3 => &MONTHS,
        4 => &DAYS,
        _ => &[],
    };
    if let Some(i) = names.iter().position(|n| *n == text.to_lowercase()) {
        return Ok(i as u32 + u32::from(field == 3));
    }
    match text.parse::<i64>() {
        Ok(n) if n < 0 => Err(format!("negative number ({n}) not allowed: {text}")),
        Ok(n) => u32::try_from(n).map_err(|_| atoi(text)),
        Err(_) => Err(atoi(text)),
    }
}

/// The name of an IANA zone.
pub(super) fn time_zone(zone: &Field, errors: &mut Errors) {
    let name = zone.str();
    if name.is_empty() {
        errors.invalid_str(zone, "timeZone must be nil or non-empty string");
        return;
    }
    if name.eq_ignore_ascii_case("local") {
        errors.invalid(zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones");
    }
    if name.contains("..") || name.starts_with('/') || name.contains('\\') {
        errors.invalid(zone, "time: invalid location name");
    } else if !is_zone(name) {
        errors.invalid(zone, format!("unknown time zone {name}"));
    }
}

/// Upstream looks zones up by their exact spelling.
fn is_zone(name: &str) -> bool {
    name == "UTC" || jiff::tz::db().available().any(|known| known.as_str() == name)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn schedules() {
        for good in ["*/5 * * * *", "0 0 1,15 jan-mar mon", "@daily", "@every 1h", "0-30/2 4 * * 0"] {
            assert_eq!(parse(good), Ok(()), "{good}");
        }
        assert_eq!(parse("x"), Err("expected exactly 5 fields, found 1: [x]".to_owned()));
        for bad in ["60 * * * *", "* * 0 * *", "5-1 * * * *", "*/0 * * * *", "@sometimes", "a * * * *"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
