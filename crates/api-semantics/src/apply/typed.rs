//! Values seen through their schema: the set of their fields, the differences of two, the merge of an applied
//! configuration into a live object, and the removal of fields.
//!
//! The rules are those of upstream's structured-merge-diff: structs and maps merge field by field unless atomic, lists
//! merge by item when they are sets or have keys, everything else is a leaf.

use std::{collections::BTreeSet, sync::Arc};

use api_types::schema::{ListKind, Type};
use serde_json::{Map, Value};

use super::field_set::FieldSet;

/// How a value's parts are owned.
#[derive(Clone, Copy)]
pub(super) enum Node<'a> {
    Schema(&'a Type),
    /// Free JSON that merges by what it is: objects field by field, the rest as leaves.
    Deduced,
}

enum Shape<'a> {
    Leaf,
    Object,
    Items(&'a ListKind, Node<'a>),
}

/// A list item without any of its keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TypedError {
    #[error("{0}: field not declared in schema")]
    NotDeclared(String),
    #[error(
        "{0}: element {1}: associative list with keys has an element that omits all key fields {2:?} (and doesn't have default values for any key fields)"
    )]
    NoKeys(String, usize, Vec<String>),
    #[error("{0}: duplicate entries for key {1}")]
    Duplicate(String, String),
    #[error("{0}: expected {1}, got {2}")]
    WrongType(String, &'static str, String),
}

impl<'a> Node<'a> {
    fn shape(self, value: &Value) -> Shape<'a> {
        match (self, value) {
            (Node::Deduced, Value::Object(_)) => Shape::Object,
            (Node::Schema(Type::Struct(of)), Value::Object(_) | Value::Null)
                if !of.atomic && of.form == api_types::schema::JsonForm::Object =>
            {
                Shape::Object
            }
            (Node::Schema(Type::Map(map)), Value::Object(_) | Value::Null) if !map.atomic => Shape::Object,
            (Node::Schema(Type::List(list)), Value::Array(_) | Value::Null) if list.kind != ListKind::Atomic => {
                Shape::Items(&list.kind, Node::Schema(&list.item))
            }
            _ => Shape::Leaf,
        }
    }

    fn child(self, name: &str) -> Node<'a> {
        match self {
            Node::Schema(Type::Struct(of)) => {
                // The table and a schema's owner outlive every walk: the reference is to the schema's own field.
                match field_type(of, name) {
                    Some(ty) => Node::Schema(ty),
                    None => Node::Deduced,
                }
            }
            Node::Schema(Type::Map(map)) => Node::Schema(&map.value),
            _ => Node::Deduced,
        }
    }

    /// Whether the name is a struct's field (and not a map's key).
    fn is_named(self, name: &str) -> bool {
        matches!(self, Node::Schema(Type::Struct(of)) if field_type(of, name).is_some())
    }
}

fn field_type<'a>(of: &'a api_types::schema::StructRef, name: &str) -> Option<&'a Type> {
    of.field(name).map(|f| &f.ty)
}

/// The path element of a list item.
fn item_element(item: &Value, kind: &ListKind, node: Node<'_>) -> Option<String> {
    let ListKind::Map(keys) = kind else {
        return Some(format!("v:{item}"));
    };
    let mut found = Map::new();
    for key in keys {
        let default = || match node {
            Node::Schema(Type::Struct(of)) => of.field(key).and_then(|f| f.default.clone()),
            _ => None,
        };
        if let Some(value) = item.get(key.as_ref()).filter(|v| !v.is_null()).cloned().or_else(default) {
            found.insert(key.clone().into_owned(), value);
        }
    }
    (!found.is_empty()).then(|| format!("k:{}", Value::Object(found)))
}

/// The items of a list with their elements, repeated ones too; items without keys are left out.
fn elements<'v>(value: Option<&'v Value>, kind: &ListKind, node: Node<'_>) -> Vec<(String, &'v Value)> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|item| Some((item_element(item, kind, node)?, item))).collect()
}

/// The same, with the items of one element together: more than one when the list repeats it, which only lists that
/// were written by updates do.
fn grouped<'v>(value: Option<&'v Value>, kind: &ListKind, node: Node<'_>) -> Vec<(String, Vec<&'v Value>)> {
    let mut out: Vec<(String, Vec<&Value>)> = Vec::new();
    for (element, item) in elements(value, kind, node) {
        match out.iter_mut().find(|(seen, _)| *seen == element) {
            Some((_, items)) => items.push(item),
            None => out.push((element, vec![item])),
        }
    }
    out
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(object)) => object.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}

// === field sets ===

/// The fields that a configuration has.
pub(super) fn field_set(value: &Value, schema: &Type) -> FieldSet {
    collect(value, Node::Schema(schema))
}

fn collect(value: &Value, node: Node<'_>) -> FieldSet {
    let mut set = FieldSet::default();
    match node.shape(value) {
        Shape::Leaf => set.make_member(),
        Shape::Object => {
            for (key, entry) in value.as_object().into_iter().flatten() {
                let mut below = collect(entry, node.child(key));
                let empty = entry.is_null() || entry.as_object().is_some_and(Map::is_empty);
                if empty || !node.is_named(key) {
                    below.make_member();
                }
                set.attach(&field_element(key), below);
            }
        }
        Shape::Items(kind, item_node) => {
            for (element, items) in grouped(Some(value), kind, item_node) {
                let mut below = if let [item] = items[..] { collect(item, item_node) } else { FieldSet::default() };
                below.make_member();
                set.attach(&element.into(), below);
            }
        }
    }
    set
}

/// The path element of a field or of a map's key.
fn field_element(name: &str) -> Arc<str> {
    ["f:", name].concat().into()
}

/// Makes every struct field on the way to a member a member itself.
pub(super) fn named_members(set: &FieldSet, schema: &Type) -> FieldSet {
    named(set, Node::Schema(schema), set.is_member())
}

fn named(set: &FieldSet, node: Node<'_>, member: bool) -> FieldSet {
    set.map_children(member, |element, child| match element.strip_prefix("f:") {
        Some(name) => named(child, node.child(name), child.is_member() || node.is_named(name)),
        None => {
            let item = match node {
                Node::Schema(Type::List(list)) => Node::Schema(&list.item),
                _ => Node::Deduced,
            };
            named(child, item, child.is_member())
        }
    })
}

// === comparison ===

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) added: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) removed: FieldSet,
}

impl Comparison {
    pub(super) fn is_same(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// Adds what differs below an element, which is only named if something does.
    fn attach(&mut self, below: Comparison, element: impl FnOnce() -> Arc<str>) {
        if below.is_same() {
            return;
        }
        let element = element();
        self.added.attach(&element, below.added);
        self.modified.attach(&element, below.modified);
        self.removed.attach(&element, below.removed);
    }

    /// Without the fields that the resource resets, and all below them.
    pub(super) fn without(self, ignored: &FieldSet) -> Comparison {
        if ignored.is_empty() {
            return self;
        }
        Comparison {
            added: self.added.without_trees(ignored),
            modified: self.modified.without_trees(ignored),
            removed: self.removed.without_trees(ignored),
        }
    }
}

/// What differs between two objects of one schema.
pub(super) fn compare(old: &Value, new: &Value, schema: &Type) -> Comparison {
    compare_nodes(Some(old), Some(new), Node::Schema(schema))
}

/// The names of the members in which two objects differ.
pub(super) fn changed_members(old: &Value, new: &Value) -> Vec<String> {
    let names = |object| Value::as_object(object).into_iter().flatten().map(|(name, _)| name);
    let gone = names(old).filter(|name| new.get(*name).is_none());
    names(new).chain(gone).filter(|name| old.get(*name) != new.get(*name)).cloned().collect()
}

/// What differs in these members of two objects; an object's schema is a struct.
pub(super) fn compare_members(old: &Value, new: &Value, names: &[String], schema: &Type) -> Comparison {
    let node = Node::Schema(schema);
    let mut out = Comparison::default();
    for name in names {
        out.attach(compare_nodes(old.get(name), new.get(name), node.child(name)), || field_element(name));
    }
    out
}

fn compare_nodes(old: Option<&Value>, new: Option<&Value>, node: Node<'_>) -> Comparison {
    let mut out = Comparison::default();
    let present = match (old, new) {
        (None, None) => return out,
        (_, Some(new)) if !new.is_null() => new,
        (Some(old), _) => old,
        (None, Some(new)) => new,
    };
    let mut same = true;
    match node.shape(present) {
        _ if is_empty(old) && is_empty(new) => same = old == new,
        Shape::Leaf => same = old == new,
        // Most of what is compared has not changed.
        _ if old == new => {}
        Shape::Object => compare_fields(old, new, node, &mut out),
        Shape::Items(kind, item_node) => compare_items(old, new, kind, item_node, &mut out),
    }
    match (old, new) {
        (None, _) => out.added.make_member(),
        (_, None) => out.removed.make_member(),
        _ if !same => out.modified.make_member(),
        _ => {}
    }
    out
}

fn compare_fields(old: Option<&Value>, new: Option<&Value>, node: Node<'_>, out: &mut Comparison) {
    let empty = Map::new();
    let old = old.and_then(Value::as_object).unwrap_or(&empty);
    let new = new.and_then(Value::as_object).unwrap_or(&empty);
    for key in old.keys().chain(new.keys().filter(|k| !old.contains_key(*k))) {
        out.attach(compare_nodes(old.get(key), new.get(key), node.child(key)), || field_element(key));
    }
}

fn compare_items(old: Option<&Value>, new: Option<&Value>, kind: &ListKind, node: Node<'_>, out: &mut Comparison) {
    let old = grouped(old, kind, node);
    let mut new = grouped(new, kind, node);
    for (element, before) in old {
        let after = new.iter().position(|(e, _)| *e == element).map(|i| new.remove(i).1);
        out.attach(compare_group(&before, &after.unwrap_or_default(), node), || element.into());
    }
    for (element, after) in new {
        out.attach(compare_group(&[], &after, node), || element.into());
    }
}

/// The items of one element. Repeated ones are owned together, as a leaf.
fn compare_group(old: &[&Value], new: &[&Value], node: Node<'_>) -> Comparison {
    match (old, new) {
        ([_, _, ..], [_, _, ..]) => {
            let mut out = Comparison::default();
            if old != new {
                out.modified.make_member();
            }
            out
        }
        ([_, _, ..], _) => {
            let mut out = compare_nodes(None, new.first().copied(), node);
            out.removed.make_member();
            out
        }
        (_, [_, _, ..]) => {
            let mut out = compare_nodes(old.first().copied(), None, node);
            out.added.make_member();
            out
        }
        _ => compare_nodes(old.first().copied(), new.first().copied(), node),
    }
}

// === merge ===

/// The live object with the applied configuration laid over it.
pub(super) fn merge(live: &Value, applied: &Value, schema: &Type) -> Value {
    merge_node(Some(live), applied, Node::Schema(schema))
}

fn merge_node(live: Option<&Value>, applied: &Value, node: Node<'_>) -> Value {
    match (node.shape(applied), applied, live) {
        (Shape::Object, Value::Object(theirs), Some(Value::Object(ours))) => {
            let mut out = ours.clone();
            for (key, value) in theirs {
                let merged = merge_node(ours.get(key), value, node.child(key));
                out.insert(key.clone(), merged);
            }
            Value::Object(out)
        }
        (Shape::Items(kind, item_node), Value::Array(_), Some(Value::Array(_))) => {
            Value::Array(merge_items(live, applied, kind, item_node))
        }
        _ => applied.clone(),
    }
}

/// Both lists' items: those of the configuration in its order, the others where the live object has them.
fn merge_items(live: Option<&Value>, applied: &Value, kind: &ListKind, node: Node<'_>) -> Vec<Value> {
    let ours = elements(live, kind, node);
    let theirs = elements(Some(applied), kind, node);
    let is_ours = |e: &str| ours.iter().any(|(o, _)| o == e);
    // What is repeated in the live object gives way to the one item that is applied.
    let in_ours = |e: &str| {
        let mut found = ours.iter().filter(|(o, _)| o == e).map(|(_, v)| *v);
        found.next().filter(|_| found.next().is_none())
    };
    let in_theirs = |e: &str| theirs.iter().any(|(t, _)| t == e);
    let mut shared = theirs.iter().filter(|(e, _)| is_ours(e)).map(|(e, _)| e.as_str()).peekable();
    let mut out = Vec::with_capacity(ours.len() + theirs.len());
    let (mut left, mut right) = (0, 0);
    while left < ours.len() || right < theirs.len() {
        if let (Some((l, _)), Some((r, item))) = (ours.get(left), theirs.get(right)) {
            if l == r {
                out.push(merge_node(in_ours(r), item, node));
                left += 1;
                right += 1;
                shared.next_if(|next| *next == r);
                continue;
            }
            if in_theirs(l) && shared.peek().is_some_and(|next| next != l) {
                // A shared item, but not the one whose turn it is.
                left += 1;
                continue;
            }
        }
        if let Some((l, item)) = ours.get(left) {
            if !in_theirs(l) {
                out.push((*item).clone());
                left += 1;
                continue;
            }
            if theirs[..right].iter().any(|(t, _)| t == l) {
                // Placed already, in the configuration's order.
                left += 1;
                continue;
            }
        }
        if let Some((r, item)) = theirs.get(right) {
            out.push(merge_node(in_ours(r), item, node));
            right += 1;
            shared.next_if(|next| *next == r);
        }
    }
    out
}

// === removal ===

/// The value without the set's members; containers that become empty become null.
pub(super) fn remove(value: &Value, set: &FieldSet, schema: &Type) -> Value {
    remove_node(value, set, Node::Schema(schema))
}

fn remove_node(value: &Value, set: &FieldSet, node: Node<'_>) -> Value {
    if set.is_empty() {
        return value.clone();
    }
    match (node.shape(value), value) {
        (Shape::Object, Value::Object(object)) => {
            let mut out = Map::new();
            for (key, entry) in object {
                match set.child(&format!("f:{key}")) {
                    Some(child) if child.is_member() => {}
                    Some(child) => {
                        out.insert(key.clone(), remove_node(entry, child, node.child(key)));
                    }
                    None => {
                        out.insert(key.clone(), entry.clone());
                    }
                }
            }
            if out.is_empty() { Value::Null } else { Value::Object(out) }
        }
        (Shape::Items(kind, item_node), Value::Array(items)) => {
            let mut out = Vec::with_capacity(items.len());
            for item in items {
                match item_element(item, kind, item_node).and_then(|e| set.child(&e)) {
                    Some(child) if child.is_member() => {}
                    Some(child) => out.push(remove_node(item, child, item_node)),
                    None => out.push(item.clone()),
                }
            }
            if out.is_empty() { Value::Null } else { Value::Array(out) }
        }
        _ => value.clone(),
    }
}

// === checks ===

/// Checks a configuration against the schema: unknown fields, wrong container types, list items without keys.
pub(super) fn check(value: &Value, schema: &Type) -> Vec<TypedError> {
    let mut errors = Vec::new();
    check_node(value, schema, "", &mut errors);
    errors
}

fn check_node(value: &Value, ty: &Type, path: &str, errors: &mut Vec<TypedError>) {
    let wrong = |wanted, errors: &mut Vec<TypedError>| {
        errors.push(TypedError::WrongType(shown_path(path), wanted, format!("&{{{value}}}")));
    };
    match (ty, value) {
        (_, Value::Null) => {}
        (Type::Struct(of), Value::Object(object)) if of.form == api_types::schema::JsonForm::Object => {
            for (key, entry) in object {
                let at = format!("{path}.{key}");
                match of.field(key) {
                    Some(field) => check_node(entry, &field.ty, &at, errors),
                    None if of.open => {}
                    None => errors.push(TypedError::NotDeclared(at)),
                }
            }
        }
        (Type::Struct(of), _) if of.form == api_types::schema::JsonForm::Object => wrong("map", errors),
        (Type::Map(map), Value::Object(object)) => {
            for (key, entry) in object {
                check_node(entry, &map.value, &format!("{path}.{key}"), errors);
            }
        }
        (Type::Map(_), _) => wrong("map", errors),
        (Type::List(list), Value::Array(items)) => check_items(items, list, path, errors),
        (Type::List(_), _) => wrong("list", errors),
        _ => {}
    }
}

/// Whether some list has an item without any of its keys: such an object's fields have no owners.
pub(super) fn has_keyless_items(value: &Value, schema: &Type) -> bool {
    match (schema, value) {
        (Type::Struct(of), Value::Object(object)) => {
            object.iter().any(|(key, entry)| of.field(key).is_some_and(|f| has_keyless_items(entry, &f.ty)))
        }
        (Type::Map(map), Value::Object(object)) => object.values().any(|entry| has_keyless_items(entry, &map.value)),
        (Type::List(list), Value::Array(items)) => items.iter().any(|item| {
            let node = Node::Schema(&list.item);
            let keyless = matches!(&list.kind, ListKind::Map(keys) if !keys.iter().any(|key| has_key(item, key, node)));
            keyless || has_keyless_items(item, &list.item)
        }),
        _ => false,
    }
}

/// Whether a list's item has this key, itself or by default.
fn has_key(item: &Value, key: &str, node: Node<'_>) -> bool {
    let default =
        || matches!(node, Node::Schema(Type::Struct(of)) if of.field(key).is_some_and(|f| f.default.is_some()));
    item.get(key).is_some_and(|value| !value.is_null()) || default()
}

fn check_items(items: &[Value], list: &api_types::schema::List, path: &str, errors: &mut Vec<TypedError>) {
    let mut seen = BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        let element = match &list.kind {
            ListKind::Atomic => format!("[{index}]"),
            kind => match item_element(item, kind, Node::Schema(&list.item)) {
                Some(element) => {
                    let shown = super::field_set::shown(&element);
                    if !seen.insert(element) {
                        errors.push(TypedError::Duplicate(path.to_owned(), shown.clone()));
                    }
                    shown
                }
                None => {
                    let keys = match kind {
                        ListKind::Map(keys) => keys.iter().map(|k| k.to_string()).collect(),
                        _ => Vec::new(),
                    };
                    errors.push(TypedError::NoKeys(path.to_owned(), index, keys));
                    continue;
                }
            },
        };
        check_node(item, &list.item, &format!("{path}{element}"), errors);
    }
}

fn shown_path(path: &str) -> String {
    if path.is_empty() { ".".to_owned() } else { path.to_owned() }
}
