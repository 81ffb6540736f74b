//! In-process clusters on a paused clock (see `tests/`).
