//! A checked expression: names are resolved, types are known.

use std::sync::Arc;

use crate::library::{Function, Overload};
use crate::types::Type;
use crate::value::Value;

pub(crate) struct Node {
    /// As the parser numbered it.
    pub(crate) id: u64,
    pub(crate) kind: Kind,
    pub(crate) ty: Type,
}

pub(crate) enum Kind {
    Literal(Value),
    Ident(Arc<str>),
    Select {
        operand: Box<Node>,
        field: Arc<str>,
        test: bool,
        optional: bool,
    },
    /// The overloads that fit the types, for the values to choose from.
    Call {
        function: &'static Function,
        overloads: Vec<&'static Overload>,
        args: Vec<Node>,
    },
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Conditional(Box<Node>, Box<Node>, Box<Node>),
    /// Items, and whether each is optional.
    List(Vec<(Node, bool)>),
    Map(Vec<(Node, Node, bool)>),
    Struct(Arc<str>, Vec<(Arc<str>, Node, bool)>),
    Comprehension(Box<Comprehension>),
}

/// What macros expand to: a loop over a list or map that collects a result.
pub(crate) struct Comprehension {
    pub(crate) range: Node,
    /// The item of a list, the key of a map; where there is a second variable, the index or key.
    pub(crate) variable: Arc<str>,
    /// The item or value.
    pub(crate) second: Option<Arc<str>>,
    pub(crate) accumulator: Arc<str>,
    pub(crate) init: Node,
    pub(crate) condition: Node,
    pub(crate) step: Node,
    pub(crate) result: Node,
}

impl Node {
    pub(crate) fn children(&self) -> Vec<&Node> {
        match &self.kind {
            Kind::Literal(_) | Kind::Ident(_) => Vec::new(),
            Kind::Select { operand, .. } => vec![operand],
            Kind::Call { args, .. } => args.iter().collect(),
            Kind::And(a, b) | Kind::Or(a, b) => vec![a, b],
            Kind::Conditional(a, b, c) => vec![a, b, c],
            Kind::List(items) => items.iter().map(|(item, _)| item).collect(),
            Kind::Map(entries) => entries.iter().flat_map(|(key, value, _)| [key, value]).collect(),
            Kind::Struct(_, fields) => fields.iter().map(|(_, value, _)| value).collect(),
            Kind::Comprehension(c) => vec![&c.range, &c.init, &c.condition, &c.step, &c.result],
        }
    }

    pub(crate) fn children_mut(&mut self) -> Vec<&mut Node> {
        match &mut self.kind {
            Kind::Literal(_) | Kind::Ident(_) => Vec::new(),
            Kind::Select { operand, .. } => vec![operand],
            Kind::Call { args, .. } => args.iter_mut().collect(),
            Kind::And(a, b) | Kind::Or(a, b) => vec![a, b],
            Kind::Conditional(a, b, c) => vec![a, b, c],
            Kind::List(items) => items.iter_mut().map(|(item, _)| item).collect(),
            Kind::Map(entries) => entries.iter_mut().flat_map(|(key, value, _)| [key, value]).collect(),
            Kind::Struct(_, fields) => fields.iter_mut().map(|(_, value, _)| value).collect(),
            Kind::Comprehension(c) => vec![&mut c.range, &mut c.init, &mut c.condition, &mut c.step, &mut c.result],
        }
    }

    /// Whether a variable with this name is mentioned.
    pub(crate) fn mentions(&self, name: &str) -> bool {
        matches!(&self.kind, Kind::Ident(n) if n.as_ref() == name)
            || self.children().into_iter().any(|child| child.mentions(name))
    }
}
