//! Kinds of the first days leave their pods behind when a client deletes them without saying how.

use apiserver::{model::Behaviour, options::Propagation};

pub(super) struct Orphaning {
    /// What the client is told then.
    pub(super) warning: Option<&'static str>,
}

/// Of jobs.
pub(super) const PODS_STAY: &str = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to \
     remove them or set propagationPolicy=Orphan to suppress this warning";

impl Behaviour for Orphaning {
    fn default_propagation(&self) -> Propagation {
        Propagation::Orphan
    }

    fn propagation_warning(&self) -> Option<&'static str> {
        self.warning
    }
}
