//! What a whole cluster does, in seconds of real time and repeatably.
#![allow(clippy::unwrap_used, reason = "a failure anywhere in this file is the failure of a test")]

mod access;
mod devices;
mod life;
