//! Renders an object the way Go prints the API server's internal structs: Go's field names in declared order, zero
//! values and all. Upstream's messages about immutable specs show them, whole or as a diff.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

use crate::field::is_zero;

/// What a field holds, and so what its zero value looks like.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Number,
    Flag,
    /// Shown as it is; null when absent.
    Raw,
    Struct(&'static str),
    Pointer(&'static str),
    List(&'static str),
    Map(&'static str),
    /// A schema, or several.
    OneOrMany(&'static str),
    /// A schema, or whether anything goes.
    OrBool(&'static str),
    /// Metadata, whose fields stand in the struct itself.
    Metadata,
}

struct Member {
    go: &'static str,
    json: String,
    kind: Kind,
}

static TYPES: LazyLock<HashMap<&'static str, Vec<Member>>> = LazyLock::new(|| {
    let lines = include_str!("go_types.txt").lines().filter(|l| !l.starts_with('#'));
    lines
        .filter_map(|l| l.split_once(": "))
        .map(|(name, members)| (name, members.split(", ").map(member).collect()))
        .collect()
});

fn member(text: &'static str) -> Member {
    let mut words = text.split(' ');
    let (go, kind) = (words.next().unwrap_or(""), words.next().unwrap_or("*"));
    if go == "^" {
        return Member { go, json: kind.to_owned(), kind: Kind::Metadata };
    }
    let json = words.next().map_or_else(|| json_name(go), str::to_owned);
    let kind = match kind {
        "s" => Kind::Text,
        "i" => Kind::Number,
        "b" => Kind::Flag,
        "*" => Kind::Raw,
        k => match k.split_at(1) {
            ("*", of) => Kind::Pointer(of),
            ("[", of) => Kind::List(of),
            ("{", of) => Kind::Map(of),
            ("/", of) => Kind::OneOrMany(of),
            ("?", of) => Kind::OrBool(of),
            _ => Kind::Struct(k),
        },
    };
    Member { go, json, kind }
}

/// `DNSPolicy` is `dnsPolicy`: the leading capitals are lowered, but for the one that starts the next word.
fn json_name(go: &str) -> String {
    let capitals = go.chars().take_while(char::is_ascii_uppercase).count();
    let lowered = if capitals == go.len() || capitals <= 1 { capitals } else { capitals - 1 };
    go.char_indices().map(|(i, c)| if i < lowered { c.to_ascii_lowercase() } else { c }).collect()
}

/// An ordered JSON tree.
enum Node {
    Raw(Value),
    Object(Vec<(String, Node)>),
    List(Vec<Node>),
}

fn render(value: &Value, of: &str) -> Node {
    let mut out = Vec::new();
    for member in TYPES.get(of).into_iter().flatten() {
        let own = value.get(&member.json).unwrap_or(&Value::Null);
        let node = match member.kind {
            Kind::Metadata => {
                out.extend(metadata(own));
                continue;
            }
            Kind::Text if own.is_null() => Node::Raw(Value::from("")),
            Kind::Number if own.is_null() => Node::Raw(Value::from(0)),
            Kind::Flag if own.is_null() => Node::Raw(Value::from(false)),
            Kind::Struct(inner) => render(own, inner),
            Kind::Pointer(inner) if !own.is_null() => render(own, inner),
            Kind::List(inner) if !own.is_null() => {
                Node::List(own.as_array().into_iter().flatten().map(|v| render(v, inner)).collect())
            }
            Kind::Map(inner) if own.is_object() => {
                let entries = own.as_object().into_iter().flatten();
                Node::Object(entries.map(|(name, v)| (name.clone(), render(v, inner))).collect())
            }
            Kind::OneOrMany(inner) if !own.is_null() => one_or_many(own, inner),
            Kind::OrBool(inner) if !own.is_null() => or_bool(own, inner),
            _ if member.json.to_lowercase().ends_with("selector") && own.is_object() => selector(own),
            _ => Node::Raw(own.clone()),
        };
        out.push((member.go.to_owned(), node));
    }
    Node::Object(out)
}

fn one_or_many(value: &Value, of: &str) -> Node {
    let (one, many) = match value.as_array() {
        Some(items) => (Node::Raw(Value::Null), Node::List(items.iter().map(|v| render(v, of)).collect())),
        None => (render(value, of), Node::Raw(Value::Null)),
    };
    Node::Object(vec![("Schema".to_owned(), one), ("JSONSchemas".to_owned(), many)])
}

fn or_bool(value: &Value, of: &str) -> Node {
    let schema = if value.is_object() { render(value, of) } else { Node::Raw(Value::Null) };
    let allows = Node::Raw(Value::from(value.as_bool().unwrap_or(true)));
    Node::Object(vec![("Allows".to_owned(), allows), ("Schema".to_owned(), schema)])
}

/// Metadata has JSON names and leaves out what is empty.
fn metadata(metadata: &Value) -> Vec<(String, Node)> {
    const ORDER: [&str; 4] = ["name", "namespace", "labels", "annotations"];
    let set = ORDER.iter().filter(|n| metadata.get(n).is_some_and(|v| !is_zero(v)));
    set.map(|n| ((*n).to_owned(), Node::Raw(metadata[*n].clone()))).collect()
}

/// Label selectors are the API's own type: JSON names, in their order. Other maps stay as they are.
fn selector(selector: &Value) -> Node {
    let known = ["matchLabels", "matchExpressions"];
    if selector.as_object().is_some_and(|m| m.keys().any(|k| !known.contains(&k.as_str()))) {
        return Node::Raw(selector.clone());
    }
    let shown = crate::selectors::shown(selector);
    let set = known.iter().filter_map(|n| Some(((*n).to_owned(), Node::Raw(shown.get(n)?.clone()))));
    Node::Object(set.collect())
}

/// A pod spec as the internal type has it: what concerns the host stands in the security context.
pub(crate) fn pod_spec(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let moved: Vec<(&str, Value)> = ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"]
        .into_iter()
        .filter_map(|n| Some((n, spec.get(n)?.clone())))
        .collect();
    let context = crate::defaults::ensure(&mut spec, "securityContext");
    for (name, value) in moved {
        context[name] = value;
    }
    spec
}

/// On one line, as in `Invalid value: {...}`.
pub(crate) fn compact(value: &Value, of: &str) -> String {
    if value.is_null() {
        return "null".to_owned();
    }
    let mut out = String::new();
    print(&render(value, of), None, &mut out);
    out
}

/// The same for a list.
pub(crate) fn compact_list(value: &Value, of: &str) -> String {
    match value.as_array() {
        Some(items) => format!("[{}]", items.iter().map(|v| compact(v, of)).collect::<Vec<_>>().join(",")),
        None => "null".to_owned(),
    }
}

fn print(node: &Node, depth: Option<usize>, out: &mut String) {
    match node {
        Node::Raw(Value::Object(map)) => {
            let members = map.iter().map(|(k, v)| (k.as_str(), Node::Raw(v.clone()))).collect::<Vec<_>>();
            group('{', '}', members.iter().map(|(k, n)| (Some(*k), n)), depth, out);
        }
        Node::Raw(Value::Array(items)) => {
            let items: Vec<Node> = items.iter().map(|v| Node::Raw(v.clone())).collect();
            group('[', ']', items.iter().map(|n| (None, n)), depth, out);
        }
        Node::Raw(value) => out.push_str(&escaped(value)),
        Node::Object(members) => {
            group('{', '}', members.iter().map(|(k, n)| (Some(k.as_str()), n)), depth, out);
        }
        Node::List(items) => group('[', ']', items.iter().map(|n| (None, n)), depth, out),
    }
}

fn group<'a>(
    open: char,
    close: char,
    members: impl ExactSizeIterator<Item = (Option<&'a str>, &'a Node)>,
    depth: Option<usize>,
    out: &mut String,
) {
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', depth));
    };
    out.push(open);
    let empty = members.len() == 0;
    for (i, (name, node)) in members.enumerate() {
        if i > 0 {
            out.push(',');
        }
        if let Some(depth) = depth {
            line(out, depth + 1);
        }
        if let Some(name) = name {
            out.push_str(&escaped(&Value::from(name)));
            out.push_str(if depth.is_some() { ": " } else { ":" });
        }
        print(node, depth.map(|d| d + 1), out);
    }
    if let Some(depth) = depth.filter(|_| !empty) {
        line(out, depth);
    }
    out.push(close);
}

/// Go's encoder escapes what could be HTML.
fn escaped(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// What changed between two objects, as a unified diff of their indented JSON.
pub(crate) fn diff(old: &Value, new: &Value, of: &str) -> String {
    let text = |value: &Value| {
        let mut out = String::new();
        print(&render(value, of), Some(0), &mut out);
        out.push('\n');
        out
    };
    crate::unified_diff::unified(&text(old), &text(new))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn renders_as_go() {
        for (go, json) in
            [("DNSPolicy", "dnsPolicy"), ("TTY", "tty"), ("SELinuxOptions", "seLinuxOptions"), ("HostIP", "hostIP")]
        {
            assert_eq!(json_name(go), json);
        }
        let reference = json!({"kind": "Pod", "name": "a<b"});
        assert_eq!(
            compact(&reference, "ObjectReference"),
            r#"{"Kind":"Pod","Namespace":"","Name":"a\u003cb","UID":"","APIVersion":"","ResourceVersion":"","FieldPath":""}"#
        );
        let diff = diff(&json!({"key": "a"}), &json!({"key": "b"}), "NodeSelectorRequirement");
        assert_eq!(
            diff,
            "@@ -1,5 +1,5 @@\n {\n- \"Key\": \"a\",\n+ \"Key\": \"b\",\n  \"Operator\": \"\",\n  \"Values\": null\n }\n"
        );
    }

    #[test]
    fn every_type_is_defined() {
        for members in TYPES.values() {
            for member in members {
                if let Kind::Struct(of)
                | Kind::Pointer(of)
                | Kind::List(of)
                | Kind::Map(of)
                | Kind::OneOrMany(of)
                | Kind::OrBool(of) = member.kind
                {
                    assert!(TYPES.contains_key(of), "{of} of {}", member.go);
                }
            }
        }
    }
}
