//! Resource quantities (`100m`, `1.5Gi`, `1e3`): exact decimals down to 10⁻⁹ with upstream's canonical text.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::str::FromStr;

const NANO: i128 = 1_000_000_000;
/// Upstream caps every amount at the largest int64.
const MAX_NANOS: i128 = i64::MAX as i128 * NANO;

/// How a quantity was written, which its canonical text keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `Ki`, `Mi`, ...
    BinarySi,
    /// `m`, `k`, `M`, ...
    DecimalSi,
    /// `1e3`
    DecimalExponent,
}

/// An exact amount of a resource. Ordering and equality compare amounts, not formats.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

impl Quantity {
    pub const ZERO: Quantity = Quantity { nanos: 0, format: Format::DecimalSi };

    /// A whole number.
    pub fn from_units(units: i64, format: Format) -> Self {
        Quantity { nanos: i128::from(units) * NANO, format }
    }

    /// Thousandths.
    pub fn from_millis(millis: i64) -> Self {
        Quantity { nanos: i128::from(millis) * (NANO / 1000), format: Format::DecimalSi }
    }

    /// The amount, rounded up to a whole number.
    pub fn value(&self) -> i64 {
        clamp(divide_up(self.nanos, NANO))
    }

    /// The amount in thousandths, rounded up.
    pub fn milli_value(&self) -> i64 {
        clamp(divide_up(self.nanos, NANO / 1000))
    }

    /// The exact amount in 10⁻⁹.
    pub fn nanos(&self) -> i128 {
        self.nanos
    }

    pub fn as_f64(&self) -> f64 {
        self.nanos as f64 / NANO as f64
    }

    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    pub fn format(&self) -> Format {
        self.format
    }

    fn with(self, nanos: i128, other: Quantity) -> Quantity {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Quantity { nanos: nanos.clamp(-MAX_NANOS, MAX_NANOS), format }
    }
}

fn clamp(value: i128) -> i64 {
    value.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// Division that rounds away from zero.
fn divide_up(value: i128, by: i128) -> i128 {
    let quotient = value / by;
    match value % by {
        0 => quotient,
        rest if rest > 0 => quotient + 1,
        _ => quotient - 1,
    }
}

impl Add for Quantity {
    type Output = Quantity;
    fn add(self, other: Quantity) -> Quantity {
        self.with(self.nanos + other.nanos, other)
    }
}

impl Sub for Quantity {
    type Output = Quantity;
    fn sub(self, other: Quantity) -> Quantity {
        self.with(self.nanos - other.nanos, other)
    }
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Quantity) {
        *self = *self + other;
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Quantity) {
        *self = *self - other;
    }
}

impl Neg for Quantity {
    type Output = Quantity;
    fn neg(self) -> Quantity {
        Quantity { nanos: -self.nanos, ..self }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Default for Quantity {
    fn default() -> Self {
        Quantity::ZERO
    }
}

// === impl FromStr ===

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let parts = split(text)?;
        let (base, exponent, format) = suffix(parts.suffix).ok_or(QuantityError::Suffix)?;
        if parts.whole.is_empty() && parts.fraction.is_empty() {
            return Err(QuantityError::Numeric);
        }
        let magnitude = match base {
            Base::Ten => decimal(parts.whole, parts.fraction, exponent),
            Base::Two => binary(parts.whole, parts.fraction, exponent as u32),
        };
        let magnitude = magnitude.min(MAX_NANOS);
        let nanos = if parts.negative { -magnitude } else { magnitude };
        Ok(Quantity { nanos, format })
    }
}

struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

fn split(text: &str) -> Result<Parts<'_>, QuantityError> {
    if text.is_empty() {
        return Err(QuantityError::Format);
    }
    let (negative, rest) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, rest) = digits(rest);
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => digits(rest),
        None => ("", rest),
    };
    let after = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let after = after.strip_prefix(['-', '+']).unwrap_or(after);
    if !digits(after).1.is_empty() {
        return Err(QuantityError::Format);
    }
    Ok(Parts { negative, whole, fraction, suffix })
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

#[derive(Clone, Copy)]
enum Base {
    Two,
    Ten,
}

const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

fn suffix(text: &str) -> Option<(Base, i32, Format)> {
    if let Some((_, exponent)) = DECIMAL.iter().find(|(s, _)| *s == text) {
        return Some((Base::Ten, *exponent, Format::DecimalSi));
    }
    if let Some(index) = BINARY.iter().position(|s| *s == text) {
        return Some((Base::Two, 10 * (index as i32 + 1), Format::BinarySi));
    }
    let exponent: i64 = text.strip_prefix(['e', 'E'])?.parse().ok()?;
    let exponent = exponent.clamp(-1_000, 1_000) as i32;
    Some((Base::Ten, exponent, Format::DecimalExponent))
}

/// Nanos of `whole.fraction × 10^exponent`, rounded up; saturates.
fn decimal(whole: &str, fraction: &str, exponent: i32) -> i128 {
    let text = format!("{whole}{fraction}");
    let text = text.trim_start_matches('0');
    // The decimal point's place in `text`, counted in nanos.
    let scale = exponent + 9 - fraction.len() as i32;
    if text.is_empty() {
        return 0;
    }
    let keep = text.len() as i64 + i64::from(scale);
    if keep > 30 {
        return MAX_NANOS;
    }
    if scale >= 0 {
        return text.parse::<i128>().map_or(MAX_NANOS, |n| n.saturating_mul(10_i128.pow(scale as u32)));
    }
    if keep <= 0 {
        return 1;
    }
    let (kept, cut) = text.split_at(keep as usize);
    let up = i128::from(cut.bytes().any(|b| b != b'0'));
    kept.parse::<i128>().map_or(MAX_NANOS, |n| n + up)
}

/// Nanos of `whole.fraction × 2^exponent`, rounded up; saturates.
fn binary(whole: &str, fraction: &str, exponent: u32) -> i128 {
    let factor = 1_i128 << exponent;
    let Some(whole) = whole.parse::<i128>().ok().or(whole.is_empty().then_some(0)) else {
        return MAX_NANOS;
    };
    // More digits than this are below 10⁻⁹ even in Ei.
    let kept = &fraction[..fraction.len().min(28)];
    let mut part = 0;
    let mut unit = factor * NANO;
    // Long multiplication, a digit at a time: the rest of each division stays exact in units of 10⁻ⁿ.
    let mut inexact = false;
    for digit in kept.bytes() {
        inexact |= unit % 10 != 0 && digit != b'0';
        unit /= 10;
        part += i128::from(digit - b'0') * unit;
    }
    let total = whole.saturating_mul(factor).saturating_mul(NANO).saturating_add(part);
    total.saturating_add(i128::from(inexact))
}

// === impl Display ===

impl fmt::Display for Quantity {
    /// The canonical text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        // Small amounts and fractions of a unit lose nothing in decimal form.
        if self.format == Format::BinarySi && self.nanos.abs() >= 1024 * NANO && self.nanos % NANO == 0 {
            return self.fmt_binary(f);
        }
        self.fmt_decimal(f)
    }
}

impl Quantity {
    fn fmt_binary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.nanos / NANO;
        let mut power = 0;
        while value % 1024 == 0 && power < BINARY.len() {
            value /= 1024;
            power += 1;
        }
        let suffix = if power == 0 { "" } else { BINARY[power - 1] };
        write!(f, "{value}{suffix}")
    }

    fn fmt_decimal(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.nanos;
        let mut exponent: i32 = -9;
        while value % 1000 == 0 && exponent < 18 {
            value /= 1000;
            exponent += 3;
        }
        if self.format == Format::DecimalExponent {
            return if exponent == 0 { write!(f, "{value}") } else { write!(f, "{value}e{exponent}") };
        }
        let suffix = DECIMAL.iter().find(|(_, e)| *e == exponent).map_or("", |(s, _)| s);
        write!(f, "{value}{suffix}")
    }
}

impl serde::Serialize for Quantity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Quantity {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        text.parse::<Quantity>().map_or_else(|e| e.to_string(), |q| q.to_string())
    }

    #[test]
    fn canonical_texts() {
        for (text, expected) in [
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("0.5Gi", "512Mi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("0.1", "100m"),
            ("100", "100"),
            ("1000000", "1M"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("12e6", "12e6"),
            ("1E", "1E"),
            ("-5Mi", "-5Mi"),
            ("0", "0"),
            ("00.0Mi", "0"),
            ("1n", "1n"),
            ("0.1n", "1n"),
            ("1.25m", "1250u"),
            ("1024Ei", "9223372036854775807"),
            ("123456789123456789123456789", "9223372036854775807"),
            (".5", "500m"),
            (".54Ti", "593736278999040m"),
            ("5.", "5"),
            ("+3", "3"),
            ("1e1000000", "9223372036854775807"),
        ] {
            assert_eq!(canonical(text), expected, "{text}");
        }
    }

    #[test]
    fn errors_are_those_of_upstream() {
        assert!(canonical("").starts_with("quantities must match"));
        assert!(canonical("1.2.3").starts_with("quantities must match"));
        assert!(canonical("ten").starts_with("quantities must match"));
        assert_eq!(canonical("1mm"), "unable to parse quantity's suffix");
        assert_eq!(canonical("."), "unable to parse numeric part of quantity");
    }

    #[test]
    fn arithmetic_is_exact() {
        let a: Quantity = "100m".parse().expect("quantity");
        let b: Quantity = "2".parse().expect("quantity");
        assert_eq!((a + b).to_string(), "2100m");
        assert_eq!((b - a).milli_value(), 1900);
        assert_eq!("1.1".parse::<Quantity>().expect("quantity").value(), 2);
        assert!(a < b);
    }
}
