//! ClusterRole: permissions in the cluster.

use crate::field::{Errors, Field};
use crate::kind::Kind;
use crate::object_meta::path_segment;

pub(crate) static KIND: Kind = Kind { name: path_segment, validate, ..Kind::CLUSTER };

fn validate(role: &Field, errors: &mut Errors) {
    super::rules(role, false, errors);
    let aggregation = role.get("aggregationRule");
    if !aggregation.exists() {
        return;
    }
    let selectors = aggregation.get("clusterRoleSelectors");
    if selectors.is_empty() {
        errors.required(&selectors, "at least one clusterRoleSelector required if aggregationRule is non-nil");
    }
    for selector in selectors.items() {
        let before = errors.len();
        crate::selectors::validate(&selector, errors);
        if errors.len() > before {
            errors.invalid_as(&selector, serde_json::Value::Null, "invalid label selector.");
        }
    }
}
