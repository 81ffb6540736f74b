//! Quantities as the API server needs them: exact comparison and the canonical spelling.

use std::cmp::Ordering;

use serde_json::Value;

const NANO: i128 = 1_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Decimal,
    Exponent,
    Binary,
}

/// A parsed quantity in billionths, with the family of suffixes that it was written in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quantity {
    nanos: i128,
    format: Format,
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

impl std::ops::Add for Quantity {
    type Output = Quantity;

    fn add(self, other: Quantity) -> Quantity {
        Quantity { nanos: self.nanos + other.nanos, format: self.format }
    }
}

impl Quantity {
    pub(crate) const ZERO: Quantity = Quantity { nanos: 0, format: Format::Decimal };

    /// Reads a quantity; `None` when the text is none.
    pub(crate) fn parse(text: &str) -> Option<Quantity> {
        let end = text
            .char_indices()
            .find(|(i, c)| !(c.is_ascii_digit() || *c == '.' || (*i == 0 && "+-".contains(*c))))
            .map_or(text.len(), |(i, _)| i);
        let (number, suffix) = text.split_at(end);
        let (numerator, denominator, format) = scale(suffix)?;
        let negative = number.starts_with('-');
        let number = number.trim_start_matches(['+', '-']);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        let digits = format!("{whole}{fraction}");
        let mantissa: i128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
        let divisor = 10i128.checked_pow(u32::try_from(fraction.len()).ok()?)?.checked_mul(denominator)?;
        let product = mantissa.checked_mul(numerator)?;
        let limit = i128::from(i64::MAX) * NANO;
        // Fractions below the smallest unit are rounded away from zero, as upstream does.
        let nanos = product.checked_mul(NANO).map_or(limit, |n| n / divisor + i128::from(n % divisor != 0)).min(limit);
        Some(Quantity { nanos: if negative { -nanos } else { nanos }, format })
    }

    pub(crate) fn of(value: &Value) -> Option<Quantity> {
        match value {
            Value::String(s) => Quantity::parse(s.trim()),
            Value::Number(n) => Quantity::parse(&n.to_string()),
            _ => None,
        }
    }

    pub(crate) fn is_negative(self) -> bool {
        self.nanos < 0
    }

    pub(crate) fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether it counts whole things.
    pub(crate) fn is_integer(self) -> bool {
        self.nanos % NANO == 0
    }

    /// Whole units, rounded up.
    pub(crate) fn value(self) -> i64 {
        let up = self.nanos.div_euclid(NANO) + i128::from(self.nanos.rem_euclid(NANO) != 0);
        i64::try_from(up).unwrap_or(i64::MAX)
    }

    /// Thousandths, rounded up.
    pub(crate) fn milli_value(self) -> i64 {
        let unit = NANO / 1000;
        let up = self.nanos.div_euclid(unit) + i128::from(self.nanos.rem_euclid(unit) != 0);
        i64::try_from(up).unwrap_or(i64::MAX)
    }

    /// Rounded up (away from zero) to thousandths, the precision of stored resource lists.
    fn round_to_milli(self) -> Quantity {
        let unit = NANO / 1000;
        let rest = self.nanos % unit;
        let nanos = match rest.cmp(&0) {
            Ordering::Equal => self.nanos,
            Ordering::Greater => self.nanos - rest + unit,
            Ordering::Less => self.nanos - rest - unit,
        };
        Quantity { nanos, ..self }
    }

    /// The canonical spelling: no fraction, the largest suffix that keeps the number whole.
    pub(crate) fn canonical(self) -> String {
        let small = self.nanos.abs() < 1024 * NANO;
        match self.format {
            Format::Binary if !small && self.is_integer() => self.binary(),
            Format::Exponent => self.decimal(|e| if e == 0 { String::new() } else { format!("e{e}") }),
            _ => self.decimal(|e| decimal_suffix(e).to_owned()),
        }
    }

    fn binary(self) -> String {
        let mut number = self.nanos / NANO;
        let mut steps = 0;
        while steps < 6 && number % 1024 == 0 && number != 0 {
            number /= 1024;
            steps += 1;
        }
        format!("{number}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][steps])
    }

    fn decimal(self, suffix: impl Fn(i32) -> String) -> String {
        if self.nanos == 0 {
            return "0".to_owned();
        }
        let (mut number, mut exponent) = (self.nanos, -9);
        while exponent < 18 && number % 1000 == 0 {
            number /= 1000;
            exponent += 3;
        }
        format!("{number}{}", suffix(exponent))
    }
}

fn decimal_suffix(exponent: i32) -> &'static str {
    match exponent {
        -9 => "n",
        -6 => "u",
        -3 => "m",
        3 => "k",
        6 => "M",
        9 => "G",
        12 => "T",
        15 => "P",
        18 => "E",
        _ => "",
    }
}

/// What a suffix multiplies by, as a fraction.
fn scale(suffix: &str) -> Option<(i128, i128, Format)> {
    let binary = |power: u32| Some((1i128 << (10 * power), 1, Format::Binary));
    let decimal = |power: u32| Some((10i128.pow(power), 1, Format::Decimal));
    match suffix {
        "n" => Some((1, 1_000_000_000, Format::Decimal)),
        "u" => Some((1, 1_000_000, Format::Decimal)),
        "m" => Some((1, 1000, Format::Decimal)),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10i128.checked_pow(exponent.unsigned_abs())?;
            let (up, down) = if exponent < 0 { (1, power) } else { (power, 1) };
            Some((up, down, Format::Exponent))
        }
    }
}

/// Rewrites a quantity in its canonical spelling; leaves what is no quantity to validation.
pub(crate) fn canonicalize(value: &mut Value) {
    if let Some(q) = Quantity::of(value) {
        *value = Value::String(q.canonical());
    }
}

/// The same for every entry of a resource list, rounded up to thousandths.
pub(crate) fn canonicalize_list(list: &mut Value) {
    for value in list.as_object_mut().into_iter().flat_map(|m| m.values_mut()) {
        if let Some(q) = Quantity::of(value) {
            *value = Value::String(q.round_to_milli().canonical());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_spelling() {
        for (input, want) in [
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1500", "1500"),
            ("1000", "1k"),
            ("0Ki", "0"),
            ("1Ki", "1Ki"),
            ("0.5Gi", "512Mi"),
            ("1e3", "1e3"),
            ("-5", "-5"),
            ("100n", "100n"),
            ("0.1Ki", "102400m"),
        ] {
            let q = Quantity::parse(input).unwrap_or_else(|| panic!("{input} parses"));
            assert_eq!(q.canonical(), want, "{input}");
        }
        for bad in ["", "x", "1x", "1.2.3", "--1", "1 "] {
            assert!(Quantity::parse(bad).is_none(), "{bad}");
        }
    }
}
