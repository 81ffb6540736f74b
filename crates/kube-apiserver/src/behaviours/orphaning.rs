//! Kinds of the first days leave their pods behind when a client deletes them without saying how.

use apiserver::{model::Behaviour, options::Propagation};

pub(super) struct Orphaning;

impl Behaviour for Orphaning {
    fn default_propagation(&self) -> Propagation {
        Propagation::Orphan
    }
}
