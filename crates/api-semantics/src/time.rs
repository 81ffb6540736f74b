//! The spelling of times.

/// Seconds precision, as `metav1.Time` writes it.
pub(crate) fn rfc3339(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
