//! How much an expression may cost before it is run: bounds from the sizes that its schema allows (cel-go `checker/cost.go`).

use std::collections::HashMap;
use std::sync::Arc;

use crate::library::Cost;
use crate::node::{Comprehension, Kind, Node};
use crate::types::Type;
use crate::value::Value;

/// What is known of the variables' sizes.
pub trait Sizes {
    /// The most characters, bytes, items or entries of what is at a path from a variable: names of fields, `@items`, `@keys` and
    /// `@values`. 0 for what has no size.
    fn largest(&self, path: &[Arc<str>]) -> Option<u64>;
}

/// A range of costs or sizes. The sums stop at the largest number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostRange {
    pub min: u64,
    pub max: u64,
}

const UNKNOWN: CostRange = CostRange { min: 0, max: u64::MAX };

impl CostRange {
    fn fixed(cost: u64) -> Self {
        CostRange { min: cost, max: cost }
    }

    fn plus(self, other: Self) -> Self {
        CostRange { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    fn times(self, other: Self) -> Self {
        CostRange { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    fn union(self, other: Self) -> Self {
        CostRange { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    /// A pass over so many characters.
    fn scanned(self, times: u64) -> Self {
        let scan = |n: u64| n.div_ceil(10).saturating_mul(times);
        CostRange { min: scan(self.min), max: scan(self.max) }
    }

    fn pattern(self) -> Self {
        CostRange { min: self.min.div_ceil(4), max: self.max.div_ceil(4) }
    }
}

type Path = Vec<Arc<str>>;

pub(crate) fn estimate(root: &Node, sizes: &dyn Sizes) -> CostRange {
    Estimator { sizes, computed: HashMap::new(), locals: Vec::new() }.node(root)
}

struct Local {
    name: Arc<str>,
    path: Option<Path>,
    size: Option<CostRange>,
}

struct Estimator<'a> {
    sizes: &'a dyn Sizes,
    /// The sizes of results, by expression.
    computed: HashMap<u64, CostRange>,
    locals: Vec<Local>,
}

impl Estimator<'_> {
    fn node(&mut self, node: &Node) -> CostRange {
        match &node.kind {
            Kind::Literal(_) => CostRange::fixed(0),
            Kind::Ident(_) => CostRange::fixed(1),
            Kind::Select { operand, test, .. } => {
                let cost = self.node(operand);
                let selects = matches!(operand.ty, Type::Map(..) | Type::Object(_) | Type::Dyn);
                if *test || !selects { cost } else { cost.plus(CostRange::fixed(1)) }
            }
            Kind::Call { args, .. } => self.call(node, args),
            Kind::And(left, right) | Kind::Or(left, right) => {
                let (left, right) = (self.node(left), self.node(right));
                CostRange { min: left.min, max: left.plus(right).max }
            }
            Kind::Conditional(condition, yes, no) => {
                let cost = self.node(condition);
                let cost = cost.plus(self.node(yes).union(self.node(no)));
                let size = self.size(yes).union(self.size(no));
                self.computed.insert(node.id, size);
                cost
            }
            Kind::List(_) => self.parts(node, 10),
            Kind::Map(_) => self.parts(node, 30),
            Kind::Struct(..) => self.parts(node, 40),
            Kind::Comprehension(comprehension) => self.comprehension(node, comprehension),
        }
    }

    fn parts(&mut self, node: &Node, base: u64) -> CostRange {
        node.children().into_iter().fold(CostRange::fixed(base), |sum, part| sum.plus(self.node(part)))
    }

    fn call(&mut self, node: &Node, args: &[Node]) -> CostRange {
        let Kind::Call { function, overloads, .. } = &node.kind else { return CostRange::fixed(0) };
        let sum = args.iter().fold(CostRange::fixed(0), |sum, arg| sum.plus(self.node(arg)));
        let mut cost: Option<CostRange> = None;
        let mut size: Option<CostRange> = None;
        for overload in overloads {
            let one = self.overload(overload.cost, args);
            cost = Some(cost.map_or(one, |c| c.union(one)));
            if let Some(made) = self.result_size(function.name, &overload.signature.result, args) {
                size = Some(size.map_or(made, |s| s.union(made)));
            }
        }
        if let Some(size) = size {
            self.computed.insert(node.id, size);
        }
        sum.plus(cost.unwrap_or(CostRange::fixed(0)))
    }

    fn overload(&mut self, cost: Cost, args: &[Node]) -> CostRange {
        let first = args.first().map_or(UNKNOWN, |a| self.size(a));
        let second = args.get(1).map_or(UNKNOWN, |a| self.size(a));
        let address = CostRange { min: 4, max: 16 };
        let parsed = |parses: bool| if parses { second.scanned(1) } else { CostRange::fixed(0) };
        match cost {
            Cost::Fixed(cost) => CostRange::fixed(cost),
            Cost::Scan(times) => first.scanned(times),
            Cost::ScanBoth => first.plus(second).scanned(1),
            Cost::ScanShorter => {
                let max = first.max.min(second.max);
                CostRange { min: max.min(1), max }.scanned(1)
            }
            Cost::ScanProduct => first.scanned(1).times(second.scanned(1)),
            Cost::Regex => first.plus(CostRange::fixed(1)).scanned(1).times(second.pattern()),
            Cost::Items => second,
            Cost::Traverse => self.traverse(&args[0], first),
            Cost::Result => self.joined(args).scanned(1),
            Cost::Contains(parses) => address.plus(address).scanned(1).plus(parsed(parses)),
            Cost::ContainsNetwork(parses) => {
                address.plus(address).scanned(1).plus(address.scanned(1)).plus(CostRange::fixed(1)).plus(parsed(parses))
            }
        }
    }

    /// A comparison for each item; texts are as long as they are.
    fn traverse(&mut self, of: &Node, size: CostRange) -> CostRange {
        let Type::List(item) = &of.ty else { return size.scanned(1) };
        let mut each = CostRange::fixed(1);
        if matches!(**item, Type::String | Type::Bytes) {
            each = each.plus(self.item_size(of).scanned(1));
        }
        size.times(each)
    }

    fn item_size(&self, of: &Node) -> CostRange {
        let Some(path) = self.path(of) else { return UNKNOWN };
        self.largest(&[path.as_slice(), &["@items".into()]].concat()).unwrap_or(UNKNOWN)
    }

    fn joined(&mut self, args: &[Node]) -> CostRange {
        let Some(list) = args.first() else { return UNKNOWN };
        let count = self.size(list);
        let separators = CostRange { min: count.min.saturating_sub(1), max: count.max.saturating_sub(1) };
        let between = args.get(1).map_or(CostRange::fixed(0), |s| self.size(s).times(separators));
        count.times(self.item_size(list)).plus(between)
    }

    /// The size of what a function makes, where its arguments tell.
    fn result_size(&mut self, name: &str, result: &Type, args: &[Node]) -> Option<CostRange> {
        let sized = matches!(result, Type::String | Type::Bytes | Type::List(_) | Type::Map(..));
        let first = args.first().map(|a| self.size(a))?;
        match name {
            "_+_" if sized => Some(first.plus(self.size(&args[1]))),
            "lowerAscii" | "upperAscii" | "substring" | "trim" | "dyn" => Some(first),
            "split" | "findAll" | "find" => Some(CostRange { min: 0, max: first.max }),
            "join" => Some(self.joined(args)),
            "replace" => Some(self.replaced(args)),
            "bytes" => Some(CostRange { min: first.min, max: first.max.saturating_mul(4) }),
            "string" if args[0].ty == Type::Bytes => Some(CostRange { min: first.min / 4, max: first.max }),
            _ => None,
        }
    }

    fn replaced(&mut self, args: &[Node]) -> CostRange {
        let (of, from, to) = (self.size(&args[0]), self.size(&args[1]), self.size(&args[2]));
        let max = if from.min == 0 {
            of.max.saturating_add(1).saturating_mul(to.max).saturating_add(of.max)
        } else if to.max <= from.min {
            of.max
        } else {
            of.max.div_ceil(from.min).saturating_mul(to.max)
        };
        CostRange { min: 0, max }
    }

    fn comprehension(&mut self, node: &Node, c: &Comprehension) -> CostRange {
        let mut sum = self.node(&c.range).plus(self.node(&c.init));
        let depth = self.locals.len();
        let size = self.known_size(&c.init);
        let path = self.path(&c.init);
        self.locals.push(Local { name: Arc::clone(&c.accumulator), path, size });
        let (keys, items) = match &c.range.ty {
            Type::List(_) => ("@indices", "@items"),
            _ => ("@keys", "@values"),
        };
        let is_list = matches!(c.range.ty, Type::List(_));
        let range = self.path(&c.range);
        let below = |part: &str| range.as_ref().map(|p| [p.as_slice(), &[part.into()]].concat());
        let mut local = |name: &Arc<str>, part: &str| {
            self.locals.push(Local { name: Arc::clone(name), path: below(part), size: None });
        };
        match &c.second {
            Some(second) => {
                local(&c.variable, keys);
                local(second, items);
            }
            None => local(&c.variable, if is_list { items } else { keys }),
        }
        let each = self.node(&c.condition).plus(self.node(&c.step));
        self.locals.truncate(depth + 1);
        sum = sum.plus(self.node(&c.result));
        self.locals.truncate(depth);
        let count = self.size(&c.range);
        match &c.init.kind {
            Kind::List(_) | Kind::Map(_) => {
                self.computed.insert(node.id, count);
            }
            _ => {}
        }
        sum.plus(count.times(each))
    }

    fn local(&self, name: &Arc<str>) -> Option<&Local> {
        self.locals.iter().rev().find(|l| l.name == *name)
    }

    /// The path of what is reached from a variable.
    fn path(&self, node: &Node) -> Option<Path> {
        let below = |of: &Node, part: Arc<str>| {
            let mut path = self.path(of)?;
            path.push(part);
            Some(path)
        };
        match &node.kind {
            Kind::Ident(name) => match self.local(name) {
                Some(local) => local.path.clone(),
                None => Some(vec![Arc::clone(name)]),
            },
            Kind::Select { operand, field, test: false, .. } => below(operand, Arc::clone(field)),
            Kind::Call { function, args, .. } if matches!(function.name, "_[_]" | "_[?_]") => {
                let part = if matches!(args[0].ty, Type::List(_)) { "@items" } else { "@values" };
                below(&args[0], part.into())
            }
            _ => None,
        }
    }

    fn largest(&self, path: &[Arc<str>]) -> Option<CostRange> {
        self.sizes.largest(path).map(|max| CostRange { min: 0, max })
    }

    fn size(&self, node: &Node) -> CostRange {
        self.known_size(node).unwrap_or(UNKNOWN)
    }

    fn known_size(&self, node: &Node) -> Option<CostRange> {
        if let Some(computed) = self.computed.get(&node.id) {
            return Some(*computed);
        }
        match &node.kind {
            Kind::Literal(Value::String(_) | Value::Bytes(_)) => {
                let Kind::Literal(value) = &node.kind else { return None };
                return Some(CostRange::fixed(value.cost_size()));
            }
            Kind::List(items) => return Some(CostRange::fixed(items.len() as u64)),
            Kind::Map(entries) => return Some(CostRange::fixed(entries.len() as u64)),
            _ => {}
        }
        if let Some(known) = self.path(node).and_then(|path| self.largest(&path)) {
            return Some(known);
        }
        if matches!(
            node.ty,
            Type::Bool | Type::Int | Type::Uint | Type::Double | Type::Null | Type::Timestamp | Type::Duration
        ) {
            return Some(CostRange::fixed(1));
        }
        match &node.kind {
            Kind::Ident(name) => self.local(name).and_then(|l| l.size),
            _ => None,
        }
    }
}
