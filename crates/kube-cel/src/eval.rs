//! The evaluator. It counts what it does; who asks too much is stopped.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::EvalError;
use crate::library::{self, Check, Cost, Overload, Run};
use crate::node::{Comprehension, Kind, Node};
use crate::types::Type;
use crate::value::{Key, Value};

/// What an expression sees of the world.
pub trait Scope {
    /// The value of a variable. An error is the expression's.
    fn variable(&self, name: &str) -> Option<Result<Value, EvalError>>;

    /// The fields of a variable that are made on demand; asked before [`Scope::variable`].
    fn field(&self, _variable: &str, _name: &str) -> Option<Result<Value, EvalError>> {
        None
    }

    /// What the authorizer said (whether, and why), when that is known.
    fn answer(&self, _question: &Check) -> Option<(bool, String)> {
        None
    }
}

impl Scope for [(&str, Value)] {
    fn variable(&self, name: &str) -> Option<Result<Value, EvalError>> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| Ok(value.clone()))
    }
}

/// Costs of parts that are no calls, as cel-go counts them.
const LIST_COST: u64 = 10;
const MAP_COST: u64 = 30;
const STRUCT_COST: u64 = 40;

/// The value and what it cost.
pub(crate) fn evaluate(node: &Node, scope: &(impl Scope + ?Sized), limit: u64) -> (Result<Value, EvalError>, u64) {
    let mut run = Evaluator { scope, limit, cost: 0, locals: Vec::new() };
    let result = run.node(node);
    (result, run.cost)
}

struct Evaluator<'a, S: ?Sized> {
    scope: &'a S,
    limit: u64,
    cost: u64,
    /// Variables of comprehensions, the innermost last.
    locals: Vec<(Arc<str>, Value)>,
}

impl<S: Scope + ?Sized> Evaluator<'_, S> {
    fn charge(&mut self, cost: u64) -> Result<(), EvalError> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit { Err(EvalError::CostLimit) } else { Ok(()) }
    }

    fn node(&mut self, node: &Node) -> Result<Value, EvalError> {
        match &node.kind {
            Kind::Literal(value) => Ok(value.clone()),
            Kind::Ident(name) => {
                self.charge(1)?;
                self.ident(name)
            }
            Kind::Select { operand, field, test, optional } => self.select(operand, field, *test, *optional),
            Kind::Call { overloads, args, .. } => self.call(overloads, args),
            Kind::And(left, right) => self.logical(left, right, false),
            Kind::Or(left, right) => self.logical(left, right, true),
            Kind::Conditional(condition, yes, no) => match self.node(condition)? {
                Value::Bool(true) => self.node(yes),
                Value::Bool(false) => self.node(no),
                _ => library::no_such_overload(),
            },
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct(name, fields) => {
                let mut made = BTreeMap::new();
                for (field, value, optional) in fields {
                    if let Some(value) = self.entry(value, *optional)? {
                        made.insert(Key::String(Arc::clone(field)), value);
                    }
                }
                self.charge(STRUCT_COST)?;
                Ok(Value::Struct(Arc::clone(name), Arc::new(made)))
            }
            Kind::Comprehension(comprehension) => self.comprehension(comprehension),
        }
    }

    fn ident(&mut self, name: &Arc<str>) -> Result<Value, EvalError> {
        if let Some((_, value)) = self.locals.iter().rev().find(|(n, _)| n == name) {
            return Ok(value.clone());
        }
        let unknown = || Err(EvalError::Message(format!("no such attribute(s): {name}")));
        self.scope.variable(name).unwrap_or_else(unknown)
    }

    fn select(&mut self, operand: &Node, field: &Arc<str>, test: bool, optional: bool) -> Result<Value, EvalError> {
        if let Kind::Ident(name) = &operand.kind
            && !test
            && let Some(made) = self.scope.field(name, field)
        {
            self.charge(2)?;
            return made;
        }
        let of = self.node(operand)?;
        if !test {
            self.charge(1)?;
        }
        let (of, optional) = match &of {
            Value::Optional(None) if test => return Ok(false.into()),
            Value::Optional(None) => return Ok(Value::none()),
            Value::Optional(Some(inner)) => (inner.as_ref(), true),
            other => (other, optional),
        };
        let found = match of {
            Value::Map(map) | Value::Struct(_, map) => map.get(&Key::String(Arc::clone(field))),
            Value::Defaulting(map, default) if !test => {
                Some(map.get(&Key::String(Arc::clone(field))).unwrap_or(default))
            }
            Value::Defaulting(map, _) => map.get(&Key::String(Arc::clone(field))),
            _ => return library::no_such_overload(),
        };
        match (found, test, optional) {
            (found, true, _) => Ok(found.is_some().into()),
            (Some(found), _, true) => Ok(Value::some(found.clone())),
            (None, _, true) => Ok(Value::none()),
            (Some(found), _, false) => Ok(found.clone()),
            (None, _, false) => Err(EvalError::Message(format!("no such key: {field}"))),
        }
    }

    /// `&&` and `||`: one side may decide whatever becomes of the other.
    fn logical(&mut self, left: &Node, right: &Node, decisive: bool) -> Result<Value, EvalError> {
        let left = self.node(left);
        match &left {
            Ok(Value::Bool(truth)) if *truth == decisive => return left,
            Err(error) if error.is_final() => return left,
            _ => {}
        }
        let right = self.node(right);
        match (&left, &right) {
            (_, Ok(Value::Bool(truth))) if *truth == decisive => right,
            (_, Err(error)) if error.is_final() => right,
            (Ok(Value::Bool(_)), Ok(Value::Bool(_))) => right,
            (Err(_), _) => left,
            (_, Err(_)) => right,
            _ => library::no_such_overload(),
        }
    }

    fn call(&mut self, overloads: &[&'static Overload], args: &[Node]) -> Result<Value, EvalError> {
        let mut values = Vec::with_capacity(args.len());
        for arg in args {
            values.push(self.node(arg)?);
        }
        let fits = |o: &&&Overload| o.signature.params.iter().zip(&values).all(|(ty, value)| is_a(value, ty));
        let Some(overload) = overloads.iter().find(fits) else { return library::no_such_overload() };
        let result = match overload.run {
            Run::Pure(run) => run(&values),
            Run::Check => self.ask(&values),
        };
        let size = |at: usize| values.get(at).map_or(1, Value::cost_size);
        let result_size = result.as_ref().map_or(1, Value::cost_size);
        self.charge(actual_cost(overload.cost, size(0), size(1), result_size))?;
        result
    }

    fn ask(&mut self, args: &[Value]) -> Result<Value, EvalError> {
        let (Value::Authorizer(value), Value::String(verb)) = (&args[0], &args[1]) else {
            return library::no_such_overload();
        };
        let question = value.question(verb);
        match self.scope.answer(&question) {
            Some((allowed, reason)) => Ok(library::decision(question, allowed, &reason)),
            None => Err(EvalError::Unanswered(Box::new(question))),
        }
    }

    /// An entry's value; nothing for an optional that is empty.
    fn entry(&mut self, node: &Node, optional: bool) -> Result<Option<Value>, EvalError> {
        match (self.node(node)?, optional) {
            (Value::Optional(inner), true) => Ok(inner.map(|v| v.as_ref().clone())),
            (_, true) => library::no_such_overload(),
            (value, false) => Ok(Some(value)),
        }
    }

    fn list(&mut self, items: &[(Node, bool)]) -> Result<Value, EvalError> {
        let mut values = Vec::with_capacity(items.len());
        for (item, optional) in items {
            values.extend(self.entry(item, *optional)?);
        }
        self.charge(LIST_COST)?;
        Ok(values.into())
    }

    fn map(&mut self, entries: &[(Node, Node, bool)]) -> Result<Value, EvalError> {
        let mut made = BTreeMap::new();
        for (key, value, optional) in entries {
            let Some(key) = Key::of(&self.node(key)?) else {
                return Err(EvalError::Message("unsupported key type".to_owned()));
            };
            if let Some(value) = self.entry(value, *optional)?
                && made.insert(key.clone(), value).is_some()
            {
                return Err(EvalError::Message(format!("Failed with repeated key: {key}")));
            }
        }
        self.charge(MAP_COST)?;
        Ok(Value::Map(Arc::new(made)))
    }

    fn comprehension(&mut self, c: &Comprehension) -> Result<Value, EvalError> {
        let range = self.node(&c.range)?;
        let init = self.node(&c.init)?;
        let depth = self.locals.len();
        self.locals.push((Arc::clone(&c.accumulator), init));
        let result = self.fold(c, &range, depth);
        let result = result.and_then(|()| self.node(&c.result));
        self.locals.truncate(depth);
        result
    }

    /// Runs the loop; the accumulator is the local at `at`.
    fn fold(&mut self, c: &Comprehension, range: &Value, at: usize) -> Result<(), EvalError> {
        let pairs: Vec<(Value, Value)> = match range {
            Value::List(list) => {
                list.items.iter().enumerate().map(|(i, item)| (Value::Int(i as i64), item.clone())).collect()
            }
            Value::Map(map) | Value::Defaulting(map, _) => {
                map.iter().map(|(key, value)| (key.value(), value.clone())).collect()
            }
            _ => return library::no_such_overload(),
        };
        let is_list = matches!(range, Value::List(_));
        // An error of one item counts only when no other decides.
        let mut failed = None;
        for (key, value) in pairs {
            match &c.second {
                Some(second) => {
                    self.locals.push((Arc::clone(&c.variable), key));
                    self.locals.push((Arc::clone(second), value));
                }
                None => self.locals.push((Arc::clone(&c.variable), if is_list { value } else { key })),
            }
            let going = !matches!(self.node(&c.condition), Ok(Value::Bool(false)));
            let step = if going { Some(self.step(&c.step, at)) } else { None };
            self.locals.truncate(at + 1);
            match step {
                None => break,
                Some(Ok(next)) => {
                    if decides(&c.step, &next) {
                        failed = None;
                    }
                    self.locals[at].1 = next;
                }
                Some(Err(error)) if error.is_final() || !is_logical(&c.step) => return Err(error),
                Some(Err(error)) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The next accumulated value. A list that grows is not copied: nobody else holds it while its item is made.
    fn step(&mut self, step: &Node, at: usize) -> Result<Value, EvalError> {
        if let Kind::Conditional(condition, yes, no) = &step.kind {
            return match self.node(condition)? {
                Value::Bool(true) => self.step(yes, at),
                Value::Bool(false) => self.step(no, at),
                _ => library::no_such_overload(),
            };
        }
        let Kind::Call { function, args, .. } = &step.kind else { return self.node(step) };
        let [Node { kind: Kind::Ident(name), .. }, Node { kind: Kind::List(items), .. }] = args.as_slice() else {
            return self.node(step);
        };
        if function.name != "_+_" || *name != self.locals[at].0 {
            return self.node(step);
        }
        self.charge(2)?;
        let added = self.list(items)?;
        let accumulated = std::mem::replace(&mut self.locals[at].1, Value::Null);
        match (accumulated, added) {
            (Value::List(mut list), Value::List(added)) => {
                Arc::make_mut(&mut list.items).extend(added.items.iter().cloned());
                Ok(Value::List(list))
            }
            _ => library::no_such_overload(),
        }
    }
}

fn is_logical(step: &Node) -> bool {
    matches!(step.kind, Kind::And(..) | Kind::Or(..))
}

/// Whether a step's value settles the loop: false in a conjunction, true in a disjunction.
fn decides(step: &Node, value: &Value) -> bool {
    matches!((&step.kind, value), (Kind::And(..), Value::Bool(false)) | (Kind::Or(..), Value::Bool(true)))
}

/// Whether a value can be an argument of a type. What is in lists and maps is not looked at.
fn is_a(value: &Value, ty: &Type) -> bool {
    match (ty, value) {
        (Type::Dyn | Type::Param(_), _) => true,
        (Type::Bool, Value::Bool(_))
        | (Type::Int, Value::Int(_))
        | (Type::Uint, Value::Uint(_))
        | (Type::Double, Value::Double(_))
        | (Type::String, Value::String(_))
        | (Type::Bytes, Value::Bytes(_))
        | (Type::Timestamp, Value::Timestamp(_))
        | (Type::Duration, Value::Duration(_))
        | (Type::Null, Value::Null)
        | (Type::List(_), Value::List(_))
        | (Type::Map(..), Value::Map(_) | Value::Defaulting(..))
        | (Type::Type(_), Value::Type(_)) => true,
        (Type::Opaque(name, _), value) => value.type_name() == *name,
        _ => false,
    }
}

/// A pass over so many characters.
fn scan(size: u64) -> u64 {
    size.div_ceil(10)
}

fn actual_cost(cost: Cost, first: u64, second: u64, result: u64) -> u64 {
    match cost {
        Cost::Fixed(cost) => cost,
        Cost::Scan(times) => scan(first.saturating_mul(times)),
        Cost::ScanBoth => scan(first.saturating_add(second)),
        Cost::ScanShorter => scan(first.min(second)),
        Cost::ScanProduct => scan(first).saturating_mul(scan(second)),
        Cost::Regex => scan(first.saturating_add(1)).saturating_mul(second.div_ceil(4)),
        Cost::Items => second,
        Cost::Traverse => first,
        Cost::Result => scan(result.saturating_mul(2)),
        Cost::Contains(parses) => scan(2 * first) + if parses { scan(second) } else { 0 },
        Cost::ContainsNetwork(parses) => scan(2 * first) + scan(first) + 1 + if parses { scan(second) } else { 0 },
    }
}
