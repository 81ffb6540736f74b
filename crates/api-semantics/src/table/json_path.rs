//! The simple JSON paths of printer columns: `.spec.a\.b`, `.items[0]`, `.x['y']`, `.list[*].n`,
//! `.status.conditions[?(@.type=="Ready")].status`.

use serde_json::Value;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Name(String),
    Index(i64),
    All,
    /// Items whose value at the path equals (or does not equal) a text.
    Filter {
        path: JsonPath,
        equal: bool,
        text: String,
    },
}

/// A parsed path.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct JsonPath(Vec<Step>);

impl JsonPath {
    /// Reads a path; none when it has parts that are not supported.
    pub(super) fn parse(text: &str) -> Option<JsonPath> {
        let text = text.trim();
        let text = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        let mut rest = text.strip_prefix('$').unwrap_or(text);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, after) = if let Some(inner) = rest.strip_prefix('[') { bracket(inner)? } else { name(rest)? };
            steps.extend(step);
            rest = after;
        }
        Some(JsonPath(steps))
    }

    /// All values that the path leads to.
    pub(super) fn find<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        self.0.iter().fold(vec![value], |found, step| found.into_iter().flat_map(|v| step.walk(v)).collect())
    }
}

impl Step {
    fn walk<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        match (self, value) {
            (Step::Name(name), Value::Object(object)) => object.get(name).into_iter().collect(),
            (Step::Index(index), Value::Array(items)) => {
                let index = if *index < 0 { items.len() as i64 + index } else { *index };
                usize::try_from(index).ok().and_then(|i| items.get(i)).into_iter().collect()
            }
            (Step::All, Value::Array(items)) => items.iter().collect(),
            (Step::All, Value::Object(entries)) => entries.values().collect(),
            (Step::Filter { path, equal, text }, Value::Array(items)) => {
                let matches = |item: &&Value| {
                    let found =
                        path.find(item).first().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
                    found.is_some_and(|found| (found == *text) == *equal)
                };
                items.iter().filter(matches).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// A `.name` step; a lone dot is no step.
fn name(text: &str) -> Option<(Option<Step>, &str)> {
    let text = text.strip_prefix('.').unwrap_or(text);
    if text.starts_with('.') {
        return None;
    }
    let mut out = String::new();
    let mut chars = text.char_indices();
    let mut end = text.len();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => out.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' => {
                end = at;
                break;
            }
            c => out.push(c),
        }
    }
    let step = match out.as_str() {
        "" => None,
        "*" => Some(Step::All),
        _ => Some(Step::Name(out)),
    };
    Some((step, &text[end..]))
}

/// What follows `[`.
fn bracket(text: &str) -> Option<(Option<Step>, &str)> {
    if let Some(filter) = text.strip_prefix("?(") {
        let (filter, rest) = filter.split_once(")]")?;
        return Some((Some(condition(filter)?), rest));
    }
    let (inner, rest) = text.split_once(']')?;
    let step = match inner {
        "*" => Step::All,
        _ => match unquote(inner) {
            Some(name) => Step::Name(name.to_owned()),
            None => Step::Index(inner.parse().ok()?),
        },
    };
    Some((Some(step), rest))
}

fn unquote(text: &str) -> Option<&str> {
    ['\'', '"'].iter().find_map(|q| text.strip_prefix(*q)?.strip_suffix(*q))
}

fn condition(text: &str) -> Option<Step> {
    let (left, right, equal) = match text.split_once("==") {
        Some((left, right)) => (left, right, true),
        None => text.split_once("!=").map(|(left, right)| (left, right, false))?,
    };
    let path = JsonPath::parse(left.trim().strip_prefix('@')?)?;
    let right = right.trim();
    Some(Step::Filter { path, equal, text: unquote(right).unwrap_or(right).to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_to_values() {
        let object = json!({"spec": {"a.b": 1, "list": [{"n": 1}, {"n": 2}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "X", "status": "False"}]}});
        for (path, found) in [
            (r".spec.a\.b", json!([1])),
            (".spec['a.b']", json!([1])),
            (".spec.list[1].n", json!([2])),
            (".spec.list[-1].n", json!([2])),
            (".spec.list[*].n", json!([1, 2])),
            (r#".status.conditions[?(@.type=="Ready")].status"#, json!(["True"])),
            (r#"{.status.conditions[?(@.type!="Ready")].status}"#, json!(["False"])),
            (".absent.x", json!([])),
        ] {
            let parsed = JsonPath::parse(path).expect(path);
            let values: Vec<Value> = parsed.find(&object).into_iter().cloned().collect();
            assert_eq!(Value::from(values), found, "{path}");
        }
        assert_eq!(JsonPath::parse("..x"), None);
    }
}
