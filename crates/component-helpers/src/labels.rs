//! Label selectors.

use std::collections::BTreeMap;

use api_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// Labels as objects carry them.
pub type Labels = BTreeMap<String, String>;

/// Whether the selector picks an object with these labels. An absent selector picks nothing, an empty one everything.
#[must_use]
pub fn selects(selector: Option<&LabelSelector>, labels: Option<&Labels>) -> bool {
    selector.is_some_and(|selector| matches(selector, labels))
}

/// Whether the selector picks an object with these labels. An empty selector picks everything.
#[must_use]
pub fn matches(selector: &LabelSelector, labels: Option<&Labels>) -> bool {
    let get = |key: &str| labels.and_then(|l| l.get(key)).map(String::as_str);
    selector.match_labels.iter().flatten().all(|(key, value)| get(key) == Some(value))
        && selector.match_expressions.iter().flatten().all(|r| requirement_matches(r, get(&r.key)))
}

/// Whether a plain map of labels (a Service's or a ReplicationController's selector) picks these labels. Empty picks nothing.
#[must_use]
pub fn map_selects(selector: Option<&Labels>, labels: Option<&Labels>) -> bool {
    selector
        .is_some_and(|s| !s.is_empty() && s.iter().all(|(key, value)| labels.and_then(|l| l.get(key)) == Some(value)))
}

/// Whether the selector is absent or names nothing.
#[must_use]
pub fn is_empty(selector: Option<&LabelSelector>) -> bool {
    selector.is_none_or(|s| {
        s.match_labels.iter().flatten().next().is_none() && s.match_expressions.iter().flatten().next().is_none()
    })
}

fn requirement_matches(requirement: &LabelSelectorRequirement, value: Option<&str>) -> bool {
    let listed = || requirement.values.iter().flatten().any(|v| Some(v.as_str()) == value);
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators() {
        let labels = Labels::from([("app".to_owned(), "web".to_owned())]);
        let table = [
            ("app", "In", vec!["web", "db"], true),
            ("app", "In", vec!["db"], false),
            ("app", "NotIn", vec!["db"], true),
            ("app", "NotIn", vec!["web"], false),
            ("tier", "NotIn", vec!["web"], true),
            ("app", "Exists", vec![], true),
            ("tier", "Exists", vec![], false),
            ("tier", "DoesNotExist", vec![], true),
            ("app", "Gt", vec!["1"], false),
        ];
        for (key, operator, values, want) in table {
            let requirement = LabelSelectorRequirement {
                key: key.to_owned(),
                operator: operator.to_owned(),
                values: Some(values.into_iter().map(str::to_owned).collect()),
            };
            let selector = LabelSelector { match_expressions: Some(vec![requirement]), match_labels: None };
            assert_eq!(selects(Some(&selector), Some(&labels)), want, "{key} {operator}");
        }
        assert!(selects(Some(&LabelSelector::default()), None));
        assert!(!selects(None, Some(&labels)));
        assert!(map_selects(Some(&labels), Some(&labels)));
        assert!(!map_selects(Some(&Labels::new()), Some(&labels)));
    }
}
