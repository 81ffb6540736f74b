//! Cron schedules: five fields, names, ranges, steps, and the `@` forms. Pure.

use api_types::k8s_openapi::jiff::{SignedDuration, Timestamp, Zoned, civil, tz::TimeZone};

/// A parsed schedule in a time zone.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Schedule {
    kind: Kind,
    zone: TimeZone,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Fields {
        minutes: u64,
        hours: u64,
        days: u64,
        months: u64,
        weekdays: u64,
        any_day: bool,
        any_weekday: bool,
    },
    /// `@every`, counted from the time before.
    Every(SignedDuration),
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// A schedule that does not come within this many years never does (30 February).
const YEARS: i16 = 5;

impl Schedule {
    /// Parses a schedule; `zone` is an IANA name, UTC when none.
    pub(super) fn parse(text: &str, zone: Option<&str>) -> Result<Self, String> {
        let zone = match zone {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|error| format!("unknown time zone {name}: {error}"))?,
        };
        let fields = match text.trim() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        if let Some(duration) = fields.strip_prefix("@every ") {
            let duration =
                component_base::duration::parse_duration(duration.trim()).map_err(|error| error.to_string())?;
            let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX).max(1);
            return Ok(Self { kind: Kind::Every(SignedDuration::from_secs(seconds)), zone });
        }
        let parts: Vec<_> = fields.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = parts[..] else {
            return Err(format!("expected exactly 5 fields, found {}: {text:?}", parts.len()));
        };
        let any = |field: &str| field.starts_with('*') || field.starts_with('?');
        // Sunday is 0 and 7.
        let weekday_bits = field(weekdays, 0, 7, &WEEKDAYS, 0)?;
        Ok(Self {
            kind: Kind::Fields {
                minutes: field(minutes, 0, 59, &[], 0)?,
                hours: field(hours, 0, 23, &[], 0)?,
                days: field(days, 1, 31, &[], 0)?,
                months: field(months, 1, 12, &MONTHS, 1)?,
                weekdays: weekday_bits | (weekday_bits >> 7),
                any_day: any(days),
                any_weekday: any(weekdays),
            },
            zone,
        })
    }

    /// The first time after `time`; none when there is none within years.
    pub(super) fn next(&self, time: Timestamp) -> Option<Timestamp> {
        match &self.kind {
            Kind::Every(duration) => Some(time + *duration),
            Kind::Fields { .. } => self.next_in_fields(time),
        }
    }

    fn next_in_fields(&self, time: Timestamp) -> Option<Timestamp> {
        let Kind::Fields { minutes, hours, months, .. } = &self.kind else { return None };
        let start = time.to_zoned(self.zone.clone());
        let last_year = start.year() + YEARS;
        let mut day = start.date();
        let (mut hour, mut minute) = (start.hour(), start.minute() + 1);
        while day.year() <= last_year {
            if has(*months, day.month()) && self.is_day(day) {
                while hour < 24 {
                    if has(*hours, hour) {
                        let found = (minute..60).find(|minute| has(*minutes, *minute));
                        if let Some(at) = found.and_then(|minute| self.at(day, hour, minute, &start)) {
                            return Some(at);
                        }
                    }
                    (hour, minute) = (hour + 1, 0);
                }
            }
            (day, hour, minute) = (day.tomorrow().ok()?, 0, 0);
        }
        None
    }

    /// The moment of a local time, unless clocks skip it or it is not after `start` (clocks were set back).
    fn at(&self, day: civil::Date, hour: i8, minute: i8, start: &Zoned) -> Option<Timestamp> {
        let local = day.at(hour, minute, 0, 0);
        let zoned = local.to_zoned(self.zone.clone()).ok()?;
        (zoned.datetime() == local && zoned > *start).then(|| zoned.timestamp())
    }

    /// Where both days are restricted, either suffices.
    fn is_day(&self, day: civil::Date) -> bool {
        let Kind::Fields { days, weekdays, any_day, any_weekday, .. } = &self.kind else { return false };
        let of_month = has(*days, day.day());
        let of_week = has(*weekdays, day.weekday().to_sunday_zero_offset());
        if *any_day || *any_weekday { of_month && of_week } else { of_month || of_week }
    }
}

fn has(bits: u64, value: i8) -> bool {
    bits & (1 << value) != 0
}

/// The values of a field as bits.
fn field(text: &str, min: u32, max: u32, names: &[&str], first_name: u32) -> Result<u64, String> {
    let mut bits = 0;
    for part in text.split(',') {
        bits |= part_bits(part, min, max, names, first_name)?;
    }
    Ok(bits)
}

fn part_bits(part: &str, min: u32, max: u32, names: &[&str], first_name: u32) -> Result<u64, String> {
    let value = |text: &str| -> Result<u32, String> {
        let named = names.iter().position(|name| text.eq_ignore_ascii_case(name));
        let number = named.and_then(|i| u32::try_from(i).ok()).map(|i| i + first_name).or_else(|| text.parse().ok());
        number.filter(|n| (min..=max).contains(n)).ok_or_else(|| format!("{text:?} is not between {min} and {max}"))
    };
    let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
    let step = match step {
        None => 1,
        Some(step) => step.parse::<u32>().ok().filter(|n| *n > 0).ok_or_else(|| format!("bad step {step:?}"))?,
    };
    let (from, to) = match range {
        "*" | "?" => (min, max),
        _ => match range.split_once('-') {
            Some((from, to)) => (value(from)?, value(to)?),
            // `5/15` counts to the end.
            None if step > 1 => (value(range)?, max),
            None => (value(range)?, value(range)?),
        },
    };
    if from > to {
        return Err(format!("the range {range:?} is backwards"));
    }
    Ok((from..=to).step_by(usize::try_from(step).unwrap_or(1)).fold(0, |bits, n| bits | (1 << n)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, zone: Option<&str>, after: &str) -> String {
        let next = Schedule::parse(schedule, zone).unwrap().next(after.parse().unwrap());
        next.map_or("never".to_owned(), |t| t.to_string())
    }

    #[test]
    fn next_times() {
        for (schedule, after, want) in [
            ("* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"),
            ("* * * * *", "2026-01-01T00:00:59Z", "2026-01-01T00:01:00Z"),
            ("*/15 * * * *", "2026-01-01T00:50:00Z", "2026-01-01T01:00:00Z"),
            ("5/20 3 * * *", "2026-01-01T04:00:00Z", "2026-01-02T03:05:00Z"),
            ("0 0 1 * *", "2026-01-15T00:00:00Z", "2026-02-01T00:00:00Z"),
            ("0 0 29 feb *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("0 12 * * mon-fri", "2026-01-02T13:00:00Z", "2026-01-05T12:00:00Z"),
            ("0 0 13 * 5", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
            ("0 0 * * 7", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
            ("@hourly", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"),
            ("@every 90s", "2026-01-01T00:00:00Z", "2026-01-01T00:01:30Z"),
            ("0 0 31 2 *", "2026-01-01T00:00:00Z", "never"),
        ] {
            assert_eq!(next(schedule, None, after), want, "{schedule} after {after}");
        }
    }

    #[test]
    fn wrong_schedules_are_refused() {
        for text in ["", "* * * *", "60 * * * *", "* * 0 * *", "5-1 * * * *", "*/0 * * * *", "x * * * *", "@never"] {
            assert!(Schedule::parse(text, None).is_err(), "{text}");
        }
        assert!(Schedule::parse("* * * * *", Some("Mars/Olympus")).is_err());
    }
}
