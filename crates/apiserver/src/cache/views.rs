//! What converters made of an object: kept with its entry, so that each state of it is converted to each version once.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::{Mutex as Turn, MutexGuard};

use super::Entry;

/// An entry as a version shows it.
#[derive(Clone, Debug)]
pub enum View {
    /// It is in this version.
    Itself,
    Other(Arc<Entry>),
}

#[derive(Default)]
struct Known {
    /// By version; there are few.
    views: Mutex<Vec<(usize, View)>>,
    /// Held by whoever has it converted.
    turn: Turn<()>,
}

/// The views of one entry. Nothing but a pointer for kinds that are not converted.
#[derive(Default)]
pub(super) struct Views(OnceLock<Box<Known>>);

impl Views {
    fn known(&self) -> &Known {
        self.0.get_or_init(Box::default)
    }

    /// The same, at the revision of the object's removal.
    pub(super) fn removed_at(&self, revision: u64) -> Views {
        let views = Views::default();
        let known = self.0.get().map(|known| known.views.lock().clone()).unwrap_or_default();
        for (version, view) in known {
            let view = match view {
                View::Itself => View::Itself,
                View::Other(entry) => View::Other(Arc::new(entry.removed_at(revision))),
            };
            views.known().views.lock().push((version, view));
        }
        views
    }
}

impl Entry {
    /// How a version shows it; `None` if it was not converted yet.
    pub(crate) fn view(&self, version: usize) -> Option<View> {
        let views = self.views.0.get()?.views.lock();
        views.iter().find(|(of, _)| *of == version).map(|(_, view)| view.clone())
    }

    pub(crate) fn keep_view(&self, version: usize, view: View) {
        self.views.known().views.lock().push((version, view));
    }

    /// Waits until nobody else has it converted.
    pub(crate) async fn converting(&self) -> MutexGuard<'_, ()> {
        self.views.known().turn.lock().await
    }
}
