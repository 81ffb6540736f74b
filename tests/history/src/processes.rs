//! Runs with real processes.
