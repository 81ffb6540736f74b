//! Whole clusters in one process; the scenarios are in `tests/`.
//!
//! Invariant: nothing here touches a socket, a real clock or real randomness.
