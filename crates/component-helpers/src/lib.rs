//! component-helpers
