//! Role: permissions in a namespace.

use crate::kind::Kind;
use crate::object_meta::path_segment;

pub(crate) static KIND: Kind =
    Kind { name: path_segment, validate: |role, errors| super::rules(role, true, errors), ..Kind::PLAIN };
