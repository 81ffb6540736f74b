//! keelson
