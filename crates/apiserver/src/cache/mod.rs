//! The cacher: every object of the store in memory, as the bytes that clients get, kept current by one watch.
//!
//! [`Hub`] reads the store once and then follows a single watch over all keys, so that all caches move through the same
//! revisions in the same order and "is this cache fresh enough?" is one comparison. A [`ResourceCache`] holds one
//! resource's entries, a window of recent events that watches start from, and the watches themselves. A [`FormPool`] bounds
//! what the encoded forms of all of them take.
//!
//! It fails towards the client: a watch that can't keep up or starts before the window is ended (410), an object that
//! can't be decoded makes its list fail with its key. It never skips an event.

mod entry;
mod forms;
mod hub;
mod index;
mod resource;
#[cfg(test)]
mod tests;
mod views;
mod watchers;

pub use entry::{Entry, Form, Selectable};
pub use forms::{FormPool, Room};
pub use hub::{Hub, HubError};
pub use index::{By, Term};
pub use resource::{CacheEvent, Change, ResourceCache, Scope, Subscription, TooOld};
pub use views::View;
pub use watchers::Crowd;
