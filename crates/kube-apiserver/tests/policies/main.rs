//! Admission policies through the server's front door, in memory.

mod mutating;
mod server;
mod validating;
