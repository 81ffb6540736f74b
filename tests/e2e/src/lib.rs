//! End-to-end tests: real binaries, real containers (see `tests/`).
