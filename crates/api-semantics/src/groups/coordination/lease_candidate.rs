//! LeaseCandidate: a process that could hold a lease.

use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { create_on_update: true, unconditional_update: false, ..Kind::PLAIN };
