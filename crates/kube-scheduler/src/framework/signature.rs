//! Which pods are judged alike.

use std::{fmt, fmt::Write as _};

/// What a plugin's judgement of a node depends on beside the node itself. Where two pods' signatures are equal, so is the judgement,
/// until the node changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature(String);

impl Signature {
    /// The signature of nothing yet, for the profile of that number.
    #[must_use]
    pub fn new(profile: u64) -> Self {
        Signature(profile.to_string())
    }

    /// The judgement depends on this; its debug form must tell all different values apart.
    pub fn add(&mut self, what: impl fmt::Debug) {
        // Writing into a string cannot fail.
        let _ = write!(self.0, "\n{what:?}");
    }

    /// The signature as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
