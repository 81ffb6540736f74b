//! The description of a kind that has none of its own: every field of the object under a readable name.

use serde_json::{Map, Value};

use super::{Page, head};
use crate::output::plain;

/// Describes any object.
pub(super) fn object(page: &mut Page, object: &Value) -> bool {
    head(page, object);
    if let Some(map) = object.as_object() {
        content(page, 0, map, "");
    }
    true
}

const SKIPPED: [&str; 5] =
    [".metadata.name", ".metadata.namespace", ".metadata.labels", ".metadata.annotations", ".metadata.managedFields"];

fn content(page: &mut Page, level: usize, map: &Map<String, Value>, root: &str) {
    for (key, value) in map {
        let path = format!("{root}.{key}");
        if SKIPPED.contains(&path.as_str()) {
            continue;
        }
        let label = label(key);
        match value {
            Value::Object(inner) => {
                page.line(level, &format!("{label}:"));
                content(page, level + 1, inner, &path);
            }
            Value::Array(list) => {
                page.line(level, &format!("{label}:"));
                for item in list {
                    match item {
                        Value::Object(inner) => content(page, level + 1, inner, &path),
                        other => page.line(level + 1, &plain(other)),
                    }
                }
            }
            Value::Null => page.field(level, &label, "<nil>"),
            other => page.field(level, &label, plain(other)),
        }
    }
}

/// `creationTimestamp` as `Creation Timestamp`.
fn label(field: &str) -> String {
    if field.chars().any(|c| !c.is_alphabetic() && c != '-') {
        return field.to_owned();
    }
    words(field)
        .into_iter()
        .map(|word| {
            let upper = word.to_uppercase();
            if ["API", "URL", "UID", "OSB", "GUID"].contains(&upper.as_str()) {
                return upper;
            }
            let mut chars = word.chars();
            chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// Splits camel case; a run of capitals is one word (`podIPs` → `pod`, `I`, `Ps` is avoided: `pod`, `IPs`).
fn words(text: &str) -> Vec<String> {
    let class = |c: char| {
        if c.is_lowercase() {
            0
        } else if c.is_uppercase() {
            1
        } else {
            2
        }
    };
    let mut runs: Vec<String> = Vec::new();
    let mut before = None;
    for c in text.chars() {
        match runs.last_mut() {
            Some(last) if before == Some(class(c)) => last.push(c),
            _ => runs.push(c.to_string()),
        }
        before = Some(class(c));
    }
    // The last capital of a run belongs to the small letters behind it.
    for i in 0..runs.len().saturating_sub(1) {
        let (upper, lower) = (
            runs[i].chars().next().is_some_and(char::is_uppercase),
            runs[i + 1].chars().next().is_some_and(char::is_lowercase),
        );
        if upper
            && lower
            && let Some(capital) = runs[i].pop()
        {
            runs[i + 1].insert(0, capital);
        }
    }
    runs.retain(|r| !r.is_empty());
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels() {
        for (field, want) in [
            ("apiVersion", "API Version"),
            ("creationTimestamp", "Creation Timestamp"),
            ("uid", "UID"),
            ("a.b", "a.b"),
            ("spec", "Spec"),
            ("podCIDR", "Pod CIDR"),
        ] {
            assert_eq!(label(field), want);
        }
    }

    #[test]
    fn nested_content() {
        let mut page = Page::default();
        object(
            &mut page,
            &json!({"apiVersion": "v1", "metadata": {"name": "a", "uid": "u"}, "spec": {"list": [1, {"x": true}], "text": "t"}}),
        );
        assert_eq!(
            page.text(),
            "Name:         a\nLabels:       <none>\nAnnotations:  <none>\nAPI Version:  v1\nMetadata:\n  UID:  u\nSpec:\n  List:\n    1\n    X:   true\n  Text:  t\n"
        );
    }
}
