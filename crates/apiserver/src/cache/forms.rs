//! The encoded forms of all caches' entries, kept as long as they fit into one budget.
//!
//! What a request or a watch asks for stays, at the cost of what was asked for longest ago. What a list of everything encodes in
//! passing stays only while there is room, so that one does not turn the whole budget over.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;

use super::entry::{Entry, Form};

/// The budget unless it is configured.
const LIMIT: usize = 256 << 20;
/// The queue is looked through for entries that are gone when it has grown to this, or to twice what was left last time.
const PURGE: usize = 4_096;

/// Whether a new form may displace others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    Make,
    IfThere,
}

/// See the module.
pub struct FormPool {
    /// Bytes that forms may take together.
    limit: usize,
    used: AtomicUsize,
    queue: Mutex<Queue>,
}

/// Entries by the time at which they got a form; some of them are gone, or have lost it.
struct Queue {
    entries: VecDeque<Weak<Entry>>,
    purge_at: usize,
}

impl Default for FormPool {
    fn default() -> Self {
        FormPool::new(LIMIT)
    }
}

impl FormPool {
    pub fn new(limit: usize) -> FormPool {
        let queue = Queue { entries: VecDeque::new(), purge_at: PURGE };
        FormPool { limit, used: AtomicUsize::new(0), queue: Mutex::new(queue) }
    }

    /// Bytes of all forms that are kept.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn has_room(&self, size: usize) -> bool {
        self.used() + size <= self.limit
    }

    /// Keeps an entry's form if there is, or can be made, room for it.
    pub(super) fn keep(&self, entry: &Arc<Entry>, form: Form, bytes: &Bytes, room: Room) {
        let size = bytes.len();
        if !self.has_room(size) && room == Room::Make && size <= self.limit {
            self.make_room(size);
        }
        if !self.has_room(size) {
            return;
        }
        // Counted before it can be taken away again, so that the count never goes below nothing.
        self.used.fetch_add(size, Ordering::Relaxed);
        if !entry.take(form, bytes) {
            return self.released(size);
        }
        let mut queue = self.queue.lock();
        queue.entries.push_back(Arc::downgrade(entry));
        if queue.entries.len() >= queue.purge_at {
            queue.entries.retain(|entry| entry.strong_count() > 0);
            queue.purge_at = PURGE.max(2 * queue.entries.len());
        }
    }

    /// Takes forms away, of those first that got them first and were not asked for since.
    fn make_room(&self, size: usize) {
        let mut queue = self.queue.lock();
        for _ in 0..2 * queue.entries.len() {
            if self.has_room(size) {
                return;
            }
            let Some(oldest) = queue.entries.pop_front() else { return };
            let Some(entry) = oldest.upgrade() else { continue };
            if entry.was_asked_for() {
                queue.entries.push_back(oldest);
            } else {
                entry.release();
            }
        }
    }

    /// Tells that so many bytes are kept no longer.
    pub(super) fn released(&self, size: usize) {
        self.used.fetch_sub(size, Ordering::Relaxed);
    }
}
