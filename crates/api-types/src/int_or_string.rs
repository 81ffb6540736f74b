//! Ports, percentages and the like: JSON values that are a number or a string.

use serde_json::Value;

/// A text that is no percentage where one was needed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PercentError {
    #[error("invalid value for IntOrString: invalid type: string is not a percentage")]
    NotAPercentage,
    #[error("invalid type: neither int nor percentage")]
    NotANumber,
}

/// The number, or the percentage of `total` (rounded up or down).
pub fn scaled(value: &Value, total: i64, round_up: bool) -> Result<i64, PercentError> {
    match value {
        Value::Number(n) => n.as_i64().ok_or(PercentError::NotANumber),
        Value::String(text) => {
            let percent: i64 =
                text.strip_suffix('%').and_then(|p| p.parse().ok()).ok_or(PercentError::NotAPercentage)?;
            let product = percent.saturating_mul(total);
            Ok(if round_up { (product + 99).div_euclid(100) } else { product.div_euclid(100) })
        }
        _ => Err(PercentError::NotANumber),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales() {
        assert_eq!(scaled(&Value::from(3), 10, true), Ok(3));
        assert_eq!(scaled(&Value::from("25%"), 10, true), Ok(3));
        assert_eq!(scaled(&Value::from("25%"), 10, false), Ok(2));
        assert_eq!(scaled(&Value::from("x"), 10, false), Err(PercentError::NotAPercentage));
    }
}
