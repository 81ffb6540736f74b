//! Sets of field paths, in the form that `managedFields[].fieldsV1` has.
//!
//! A path element is kept as its text there: `f:name` (a field or map key), `k:{"name":"c"}` (a list item by its keys),
//! `v:"x"` (a list item by its value). Elements of one node are ordered by that text.

use std::{borrow::Cow, sync::Arc};

use serde_json::{Map, Value};

/// A node: whether the path itself belongs to the set, and what lies below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    member: bool,
    /// In the order of the elements.
    children: Vec<(Arc<str>, FieldSet)>,
}

impl FieldSet {
    /// The set of this node alone.
    pub(super) fn node() -> FieldSet {
        FieldSet { member: true, children: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    pub fn is_member(&self) -> bool {
        self.member
    }

    fn position(&self, element: &str) -> Result<usize, usize> {
        self.children.binary_search_by(|(e, _)| (**e).cmp(element))
    }

    pub fn child(&self, element: &str) -> Option<&FieldSet> {
        self.position(element).ok().map(|at| &self.children[at].1)
    }

    /// Makes this node itself a member.
    pub(super) fn make_member(&mut self) {
        self.member = true;
    }

    /// Adds what lies below an element, unless it is nothing.
    pub(super) fn attach(&mut self, element: &Arc<str>, child: FieldSet) {
        if child.is_empty() {
            return;
        }
        match self.position(element) {
            Ok(at) => self.children[at].1.add(&child),
            Err(at) => self.children.insert(at, (Arc::clone(element), child)),
        }
    }

    /// A set of plain field paths.
    pub fn of_fields(paths: &[&[&str]]) -> Self {
        let mut set = FieldSet::default();
        for path in paths {
            let branch = path.iter().rev().fold(FieldSet::node(), |below, name| {
                let mut node = FieldSet::default();
                node.attach(&format!("f:{name}").into(), below);
                node
            });
            set.add(&branch);
        }
        set
    }

    /// Takes the other's members in.
    pub fn add(&mut self, other: &FieldSet) {
        self.member |= other.member;
        for (element, theirs) in &other.children {
            match self.position(element) {
                Ok(at) => self.children[at].1.add(theirs),
                Err(at) => self.children.insert(at, (Arc::clone(element), theirs.clone())),
            }
        }
    }

    #[must_use]
    pub fn union(mut self, other: FieldSet) -> FieldSet {
        if self.is_empty() {
            return other;
        }
        self.add(&other);
        self
    }

    /// The members of this set that are not members of the other; what lies below an element stays.
    #[must_use]
    pub fn difference(self, other: &FieldSet) -> FieldSet {
        let member = self.member && !other.member;
        self.reduce(other, member, |ours, theirs| match theirs {
            Some(theirs) => ours.difference(theirs),
            None => ours,
        })
    }

    /// The members that both have.
    #[must_use]
    pub fn intersection(self, other: &FieldSet) -> FieldSet {
        let member = self.member && other.member;
        self.reduce(other, member, |ours, theirs| theirs.map_or_else(FieldSet::default, |t| ours.intersection(t)))
    }

    /// Without the other's members and all that lies below them.
    #[must_use]
    pub fn without_trees(self, other: &FieldSet) -> FieldSet {
        let member = self.member && !other.member;
        self.reduce(other, member, |ours, theirs| match theirs {
            Some(theirs) if theirs.member => FieldSet::default(),
            Some(theirs) => ours.without_trees(theirs),
            None => ours,
        })
    }

    /// Leaves of each child what `child` does, which sees what the other has in its place; those that become empty go.
    fn reduce(
        mut self,
        other: &FieldSet,
        member: bool,
        mut child: impl FnMut(FieldSet, Option<&FieldSet>) -> FieldSet,
    ) -> FieldSet {
        let mut theirs = other.children.iter().peekable();
        self.member = member;
        self.children.retain_mut(|(element, ours)| {
            while theirs.next_if(|(e, _)| *e < *element).is_some() {}
            let same = theirs.peek().filter(|(e, _)| *e == *element).map(|(_, theirs)| theirs);
            *ours = child(std::mem::take(ours), same);
            !ours.is_empty()
        });
        self
    }

    /// Makes members of this node and of children, as `f` says; see `typed::named_members`.
    pub(super) fn map_children(&self, member: bool, mut f: impl FnMut(&str, &FieldSet) -> FieldSet) -> FieldSet {
        FieldSet { member, children: self.children.iter().map(|(e, c)| (Arc::clone(e), f(e, c))).collect() }
    }

    /// Every member's path as error texts print it (`.spec.ports[port=80].name`); the members of a node come before
    /// those below its children.
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect_paths("", &mut out);
        out
    }

    fn collect_paths(&self, prefix: &str, out: &mut Vec<String>) {
        for (element, _) in self.children.iter().filter(|(_, child)| child.member) {
            out.push(format!("{prefix}{}", shown(element)));
        }
        for (element, child) in &self.children {
            child.collect_paths(&format!("{prefix}{}", shown(element)), out);
        }
    }

    /// The form of `fieldsV1`.
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        if self.member && !self.children.is_empty() {
            object.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (element, child) in &self.children {
            object.insert(element.to_string(), child.to_json());
        }
        Value::Object(object)
    }

    /// Reads `fieldsV1`; none when it is malformed.
    pub fn from_json(value: &Value) -> Option<FieldSet> {
        let mut set = FieldSet::default();
        for (element, child) in value.as_object()? {
            if element == "." {
                set.member = true;
                continue;
            }
            let mut child_set = FieldSet::from_json(child)?;
            if child.as_object().is_some_and(Map::is_empty) {
                child_set.member = true;
            }
            let element = canonical(element)?;
            match set.position(&element) {
                Ok(at) => set.children[at].1 = child_set,
                Err(at) => set.children.insert(at, (element.into(), child_set)),
            }
        }
        Some(set)
    }
}

/// The element with its JSON part in compact form with sorted keys.
fn canonical(element: &str) -> Option<Cow<'_, str>> {
    match element.split_at_checked(2)? {
        ("f:", _) => Some(Cow::Borrowed(element)),
        (prefix @ ("k:" | "v:"), text) => {
            let value: Value = serde_json::from_str(text).ok()?;
            Some(Cow::Owned(format!("{prefix}{value}")))
        }
        ("i:", index) => index.parse::<i64>().ok().map(|i| Cow::Owned(format!("i:{i}"))),
        _ => None,
    }
}

/// An element as error texts print it.
pub(super) fn shown(element: &str) -> String {
    match element.split_at_checked(2) {
        Some(("f:", name)) => format!(".{name}"),
        Some(("k:", text)) => {
            let keys: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
            let parts: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("[{}]", parts.join(","))
        }
        Some(("v:", text)) => format!("[={text}]"),
        Some((_, index)) => format!("[{index}]"),
        None => element.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(value: Value) -> FieldSet {
        FieldSet::from_json(&value).expect("a set")
    }

    #[test]
    fn round_trips_and_combines() {
        let a = json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}},
            "f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}}});
        assert_eq!(set(a.clone()).to_json(), a);
        let b = set(json!({"f:metadata": {"f:labels": {"f:a": {}, "f:b": {}}}}));
        let a = set(a);
        assert_eq!(a.clone().intersection(&b).to_json(), json!({"f:metadata": {"f:labels": {"f:a": {}}}}));
        assert_eq!(
            a.clone().difference(&b).to_json()["f:metadata"],
            json!({"f:labels": {}}),
            "the dot is the only member left"
        );
        assert_eq!(b.clone().difference(&a).to_json(), json!({"f:metadata": {"f:labels": {"f:b": {}}}}));
        assert_eq!(a.clone().union(b).paths().len(), 5);
    }

    #[test]
    fn paths_print_as_in_errors() {
        let a = set(json!({"f:spec": {"f:ports": {"k:{\"protocol\":\"TCP\",\"port\":80}": {"f:name": {}}}, "f:x": {}},
            "f:metadata": {"f:finalizers": {"v:\"a\"": {}}}, "f:type": {}}));
        assert_eq!(
            a.paths(),
            [".type", ".metadata.finalizers[=\"a\"]", ".spec.x", ".spec.ports[port=80,protocol=\"TCP\"].name"]
        );
    }
}
