//! Reading a `Quantity` as a whole number, rounded up as upstream's `Value()` and `MilliValue()` do.
//!
//! Stored objects passed validation, so that a text that is no quantity counts as zero here: the API server is where a
//! bad one is refused.

use api_types::k8s_openapi::apimachinery::pkg::api::resource::Quantity;

const NANO: i128 = 1_000_000_000;

/// The quantity in whole units, rounded up (away from zero), capped at the range of `i64`.
#[must_use]
pub fn value(quantity: &Quantity) -> i64 {
    scaled(quantity, 1)
}

/// The quantity in thousandths, rounded up, capped at the range of `i64`.
#[must_use]
pub fn milli_value(quantity: &Quantity) -> i64 {
    scaled(quantity, 1000)
}

fn scaled(quantity: &Quantity, factor: i128) -> i64 {
    let nanos = parse_nanos(&quantity.0).unwrap_or(0).saturating_mul(factor);
    let whole = nanos / NANO;
    let rounded = match nanos % NANO {
        0 => whole,
        rest => whole + rest.signum(),
    };
    i64::try_from(rounded).unwrap_or(if rounded < 0 { i64::MIN } else { i64::MAX })
}

/// The quantity in billionths, or nothing where the text is no quantity.
fn parse_nanos(text: &str) -> Option<i128> {
    let (negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(end);
    let (integer, fraction) = number.split_once('.').unwrap_or((number, ""));
    if integer.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits: i128 = format!("0{integer}{fraction}").parse().ok()?;
    let magnitude = apply_suffix(digits, suffix, fraction.len() as i32)?;
    Some(if negative { -magnitude } else { magnitude })
}

fn apply_suffix(digits: i128, suffix: &str, fraction_digits: i32) -> Option<i128> {
    let binary = match suffix {
        "Ki" => 1,
        "Mi" => 2,
        "Gi" => 3,
        "Ti" => 4,
        "Pi" => 5,
        "Ei" => 6,
        _ => 0,
    };
    let exponent = match suffix {
        _ if binary > 0 => 0,
        "" => 0,
        "n" => -9,
        "u" => -6,
        "m" => -3,
        "k" => 3,
        "M" => 6,
        "G" => 9,
        "T" => 12,
        "P" => 15,
        "E" => 18,
        _ => suffix.strip_prefix(['e', 'E'])?.parse::<i32>().ok()?,
    };
    let base = digits.saturating_mul(1i128 << (10 * binary));
    Some(shift_decimal(base, exponent + 9 - fraction_digits))
}

/// `value * 10^places`, rounded up where digits are lost.
fn shift_decimal(value: i128, places: i32) -> i128 {
    match 10i128.checked_pow(places.unsigned_abs()) {
        Some(power) if places >= 0 => value.saturating_mul(power),
        Some(power) => value / power + i128::from(value % power != 0),
        None if places >= 0 && value != 0 => i128::MAX,
        None => i128::from(value != 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_suffix_and_rounds_up() {
        let table = [
            ("0", 0, 0),
            ("1", 1, 1000),
            ("100m", 1, 100),
            ("1500m", 2, 1500),
            ("0.1", 1, 100),
            ("2.5Gi", 2_684_354_560, 2_684_354_560_000),
            ("1Ki", 1024, 1_024_000),
            ("64M", 64_000_000, 64_000_000_000),
            ("1e3", 1000, 1_000_000),
            ("1E-3", 1, 1),
            ("12E", 12_000_000_000_000_000_000_i128.min(i128::from(i64::MAX)) as i64, i64::MAX),
            ("-1500m", -2, -1500),
            ("1n", 1, 1),
            (".5", 1, 500),
            ("9Ei", i64::MAX, i64::MAX),
            ("nonsense", 0, 0),
        ];
        for (text, units, milli) in table {
            let quantity = Quantity(text.to_owned());
            assert_eq!((value(&quantity), milli_value(&quantity)), (units, milli), "{text}");
        }
    }
}
