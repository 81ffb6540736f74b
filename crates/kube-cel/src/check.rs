//! The type checker: from a parsed tree to one whose names are resolved and whose types are known, or to what is wrong,
//! in cel-go's words.

use std::collections::BTreeMap;
use std::sync::Arc;

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, IdedExpr, ListExpr, LiteralValue, MapExpr, SelectExpr,
    StructExpr, operators,
};

use crate::library::{self, Function, Overload, compile_pattern};
use crate::node::{Comprehension, Kind, Node};
use crate::parse::{Issue, Parsed};
use crate::types::{Bindings, ObjectType, Type};
use crate::value::Value;

/// What expressions may refer to.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, Type>,
    /// Whether `Object{...}` and `JSONPatch{...}` may be made.
    constructors: bool,
}

impl Environment {
    #[must_use]
    pub fn variable(mut self, name: &str, of: Type) -> Environment {
        self.variables.insert(name.to_owned(), of);
        self
    }

    /// With the types that mutations make.
    #[must_use]
    pub fn constructors(mut self) -> Environment {
        self.constructors = true;
        self
    }

    /// The type of a constructor's result.
    fn constructor(&self, name: &str) -> Option<Type> {
        let is_object = name == "Object" || name.starts_with("Object.");
        match (self.constructors, name) {
            (true, "JSONPatch") => Some(json_patch_type()),
            (true, name) if is_object => Some(Type::Object(object_type(name))),
            _ => None,
        }
    }
}

/// The type of `JSONPatch{}`.
pub fn json_patch_type() -> Type {
    Type::object(
        "JSONPatch",
        [("op", Type::String), ("path", Type::String), ("from", Type::String), ("value", Type::Dyn)],
    )
}

/// `Object`, `Object.spec`, ...: any field, of any type.
pub fn object_type(name: &str) -> ObjectType {
    struct Any;
    impl crate::types::Fields for Any {
        fn field(&self, _: &str) -> Option<Type> {
            Some(Type::Dyn)
        }
    }
    ObjectType::new(name, Any)
}

pub(crate) fn check(parsed: &Parsed, environment: &Environment) -> Result<Node, Vec<Issue>> {
    let (scopes, issues) = (Vec::new(), Vec::new());
    let mut checker = Checker { parsed, environment, scopes, bindings: Bindings::default(), issues, mixed: false };
    let mut root = checker.node(&parsed.root);
    if checker.issues.is_empty() {
        checker.settle(&mut root);
        return Ok(root);
    }
    let mut issues = checker.issues;
    issues.sort_by_key(|issue| (issue.line, issue.column));
    Err(issues)
}

struct Checker<'a> {
    parsed: &'a Parsed,
    environment: &'a Environment,
    /// Variables of comprehensions, the innermost last.
    scopes: Vec<(String, Type)>,
    bindings: Bindings,
    issues: Vec<Issue>,
    /// Whether lists and maps may hold values of several types here: the arguments of `format` may.
    mixed: bool,
}

impl Checker<'_> {
    fn refuse(&mut self, id: u64, message: String) -> Type {
        let issue = self.parsed.issue(id, message);
        self.issues.push(issue);
        Type::Error
    }

    fn shown(&self, of: &Type) -> String {
        self.bindings.resolve(of, None).to_string()
    }

    fn node(&mut self, expr: &IdedExpr) -> Node {
        let (kind, ty) = match &expr.expr {
            Expr::Literal(literal) => self::literal(literal),
            Expr::Ident(name) => self.ident(expr.id, name),
            Expr::Select(select) => self.select(expr, select),
            Expr::Call(call) => self.call(expr.id, call),
            Expr::List(list) => self.list(list),
            Expr::Map(map) => self.map(map),
            Expr::Struct(made) => self.made(expr.id, made),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Unspecified => (Kind::Literal(Value::Null), self.refuse(expr.id, "unexpected expression".to_owned())),
        };
        Node { id: expr.id, kind, ty }
    }

    fn lookup(&self, name: &str) -> Option<Type> {
        let scoped = self.scopes.iter().rev().find(|(n, _)| n == name).map(|(_, t)| t.clone());
        scoped.or_else(|| self.environment.variables.get(name).cloned())
    }

    fn ident(&mut self, id: u64, name: &str) -> (Kind, Type) {
        if let Some(found) = self.lookup(name) {
            return (Kind::Ident(name.into()), found);
        }
        if let Some(named) = library::type_value(name) {
            return (Kind::Literal(Value::Type(name.into())), Type::Type(Arc::new(named)));
        }
        let unknown = self.refuse(id, format!("undeclared reference to '{name}' (in container '')"));
        (Kind::Literal(Value::Null), unknown)
    }

    fn select(&mut self, expr: &IdedExpr, select: &SelectExpr) -> (Kind, Type) {
        // A variable's name may have dots.
        if !select.test
            && let Some(name) = dotted(&expr.expr)
            && self.scopes.iter().all(|(n, _)| Some(n.as_str()) != name.split('.').next())
            && let Some(found) = self.environment.variables.get(&name)
        {
            return (Kind::Ident(name.into()), found.clone());
        }
        let operand = self.node(&select.operand);
        let field = self.field(expr.id, &operand.ty, &select.field);
        let ty = if select.test { Type::Bool } else { field };
        let kind = Kind::Select {
            operand: Box::new(operand),
            field: select.field.as_str().into(),
            test: select.test,
            optional: false,
        };
        (kind, ty)
    }

    /// The type of a field; a field of an optional is optional.
    fn field(&mut self, id: u64, of: &Type, name: &str) -> Type {
        match self.bindings.resolve(of, None) {
            Type::Error => Type::Error,
            Type::Dyn => Type::Dyn,
            Type::Map(key, value) => {
                if !self.bindings.assignable(&Type::String, &key) {
                    return self.refuse(id, format!("expected type '{key}' but found 'string'"));
                }
                value.as_ref().clone()
            }
            Type::Object(object) => match object.field(name) {
                Some(found) => found,
                None => self.refuse(id, format!("undefined field '{name}'")),
            },
            param @ Type::Param(_) => {
                self.bindings.assignable(&param, &Type::Dyn);
                Type::Dyn
            }
            other => match other.optional_inner() {
                Some(inner) => {
                    let inner = inner.clone();
                    let found = self.field(id, &inner, name);
                    if found.optional_inner().is_some() { found } else { Type::optional(found) }
                }
                None => self.refuse(id, format!("type '{other}' does not support field selection")),
            },
        }
    }

    fn call(&mut self, id: u64, call: &CallExpr) -> (Kind, Type) {
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::LOGICAL_AND, [left, right]) => return self.logical(id, call, left, right, Kind::And),
            (operators::LOGICAL_OR, [left, right]) => return self.logical(id, call, left, right, Kind::Or),
            (operators::CONDITIONAL, [condition, yes, no]) => return self.conditional(id, condition, yes, no),
            (operators::OPT_SELECT, [operand, field]) => return self.optional_select(id, operand, field),
            _ => {}
        }
        // `sets.contains(...)` looks like a call on a variable.
        let namespaced = call.target.as_ref().and_then(|target| dotted(&target.expr)).and_then(|target| {
            let root = target.split('.').next().unwrap_or_default().to_owned();
            let function = library::find(&format!("{target}.{}", call.func_name))?;
            self.lookup(&root).is_none().then_some(function)
        });
        let found = namespaced.or_else(|| library::find(&call.func_name));
        let target = if namespaced.is_some() { None } else { call.target.as_deref() };
        let before = self.mixed;
        self.mixed |= call.func_name == "format";
        let args: Vec<Node> = target.into_iter().chain(&call.args).map(|arg| self.node(arg)).collect();
        self.mixed = before;
        let Some(function) = found else {
            let name = &call.func_name;
            let unknown = self.refuse(id, format!("undeclared reference to '{name}' (in container '')"));
            return (Kind::Literal(Value::Null), unknown);
        };
        let (overloads, ty) = self.resolve(id, function, target.is_some(), &args);
        self.literals(function, &args);
        (Kind::Call { function, overloads, args }, ty)
    }

    /// The overloads that fit, and what they result in.
    fn resolve(
        &mut self,
        id: u64,
        function: &'static Function,
        member: bool,
        args: &[Node],
    ) -> (Vec<&'static Overload>, Type) {
        let types: Vec<Type> = args.iter().map(|arg| arg.ty.clone()).collect();
        let mut fitting = Vec::new();
        let mut result: Option<Type> = None;
        for overload in function.overloads.iter().filter(|o| o.signature.member == member) {
            let signature = &overload.signature;
            let mut wanted = signature.params.clone();
            wanted.push(signature.result.clone());
            let mut wanted = self.bindings.instantiate(&wanted, signature.variables);
            let made = wanted.pop().unwrap_or(Type::Dyn);
            if self.bindings.all_assignable(&types, &wanted) {
                let made = self.bindings.resolve(&made, None);
                result = Some(match result {
                    Some(before) if before != made => Type::Dyn,
                    _ => made,
                });
                fitting.push(overload);
            }
        }
        let ty = match result {
            Some(ty) => ty,
            None => self.no_overload(id, function.name, member, &types),
        };
        (fitting, ty)
    }

    fn no_overload(&mut self, id: u64, name: &str, member: bool, types: &[Type]) -> Type {
        if types.contains(&Type::Error) {
            return Type::Error;
        }
        let shown: Vec<String> = types.iter().map(|t| self.shown(t)).collect();
        let applied = match shown.split_first() {
            Some((target, rest)) if member => format!("{target}.({})", rest.join(", ")),
            _ => format!("({})", shown.join(", ")),
        };
        self.refuse(id, format!("found no matching overload for '{name}' applied to '{applied}'"))
    }

    /// Constants that can be seen to be wrong: patterns, times, durations.
    fn literals(&mut self, function: &Function, args: &[Node]) {
        let constant = |at: usize| match args.get(at) {
            Some(Node { id, kind: Kind::Literal(Value::String(text)), .. }) => Some((*id, text.to_string())),
            _ => None,
        };
        let (at, what) = match function.name {
            "matches" => (1, "matches"),
            "duration" | "timestamp" => (0, function.name),
            _ => return,
        };
        let Some((id, text)) = constant(at) else { return };
        let good = match what {
            "matches" => compile_pattern(&text).is_ok(),
            "duration" => api_types::duration::parse(&text).is_ok(),
            _ => text.parse::<jiff::Timestamp>().is_ok(),
        };
        if !good {
            self.refuse(id, format!("invalid {what} argument"));
        }
    }

    fn logical(
        &mut self,
        id: u64,
        call: &CallExpr,
        left: &IdedExpr,
        right: &IdedExpr,
        kind: fn(Box<Node>, Box<Node>) -> Kind,
    ) -> (Kind, Type) {
        let (left, right) = (self.node(left), self.node(right));
        let types = [left.ty.clone(), right.ty.clone()];
        let fits = self.bindings.all_assignable(&types, &[Type::Bool, Type::Bool]);
        let ty = if fits { Type::Bool } else { self.no_overload(id, &call.func_name, false, &types) };
        (kind(Box::new(left), Box::new(right)), ty)
    }

    fn conditional(&mut self, id: u64, condition: &IdedExpr, yes: &IdedExpr, no: &IdedExpr) -> (Kind, Type) {
        let (condition, yes, no) = (self.node(condition), self.node(yes), self.node(no));
        let types = [condition.ty.clone(), yes.ty.clone(), no.ty.clone()];
        let any = self.bindings.fresh();
        let fits = self.bindings.all_assignable(&types, &[Type::Bool, any.clone(), any.clone()]);
        let ty = if fits {
            self.bindings.resolve(&any, None)
        } else {
            self.no_overload(id, operators::CONDITIONAL, false, &types)
        };
        (Kind::Conditional(Box::new(condition), Box::new(yes), Box::new(no)), ty)
    }

    fn optional_select(&mut self, id: u64, operand: &IdedExpr, field: &IdedExpr) -> (Kind, Type) {
        let operand = self.node(operand);
        let Expr::Literal(LiteralValue::String(name)) = &field.expr else {
            let ty = self.refuse(field.id, "unsupported optional field selection".to_owned());
            return (Kind::Literal(Value::Null), ty);
        };
        let found = self.field(id, &operand.ty, name.inner());
        let ty = if found.optional_inner().is_some() { found } else { Type::optional(found) };
        let kind = Kind::Select { operand: Box::new(operand), field: name.inner().into(), test: false, optional: true };
        (kind, ty)
    }

    fn list(&mut self, list: &ListExpr) -> (Kind, Type) {
        let mut joined: Option<Type> = None;
        let mut items = Vec::new();
        for (at, element) in list.elements.iter().enumerate() {
            let optional = list.optional_indices.contains(&at);
            let item = self.node(element);
            let ty = self.entry_type(&item, optional);
            joined = Some(self.join(item.id, joined, ty));
            items.push((item, optional));
        }
        let item = joined.unwrap_or_else(|| self.bindings.fresh());
        (Kind::List(items), Type::list(item))
    }

    /// What an entry adds: an optional one, what it holds.
    fn entry_type(&mut self, item: &Node, optional: bool) -> Type {
        if !optional {
            return item.ty.clone();
        }
        let inner = self.bindings.fresh();
        if self.bindings.assignable(&item.ty, &Type::optional(inner.clone())) {
            return self.bindings.resolve(&inner, None);
        }
        let found = self.shown(&item.ty);
        self.refuse(item.id, format!("expected type 'optional_type(_)' but found '{found}'"))
    }

    /// The entries of a list or map have one type.
    fn join(&mut self, id: u64, before: Option<Type>, next: Type) -> Type {
        let Some(before) = before else { return next };
        if self.bindings.assignable(&next, &before) {
            return if before.is_dyn() || next.is_dyn() { Type::Dyn } else { self.bindings.resolve(&before, None) };
        }
        if self.mixed {
            return Type::Dyn;
        }
        let (wanted, found) = (self.shown(&before), self.shown(&next));
        self.refuse(id, format!("expected type '{wanted}' but found '{found}'"))
    }

    fn map(&mut self, map: &MapExpr) -> (Kind, Type) {
        let (mut keys, mut values) = (None, None);
        let mut entries = Vec::new();
        for entry in &map.entries {
            let IdedEntryExpr { expr: EntryExpr::MapEntry(entry), .. } = entry else { continue };
            let (key, value) = (self.node(&entry.key), self.node(&entry.value));
            keys = Some(self.join(key.id, keys, key.ty.clone()));
            let ty = self.entry_type(&value, entry.optional);
            values = Some(self.join(value.id, values, ty));
            entries.push((key, value, entry.optional));
        }
        let key = keys.unwrap_or_else(|| self.bindings.fresh());
        let value = values.unwrap_or_else(|| self.bindings.fresh());
        (Kind::Map(entries), Type::map(key, value))
    }

    fn made(&mut self, id: u64, made: &StructExpr) -> (Kind, Type) {
        let name = made.type_name.as_str();
        let Some(ty) = self.environment.constructor(name) else {
            let ty = self.refuse(id, format!("undeclared reference to '{name}' (in container '')"));
            return (Kind::Literal(Value::Null), ty);
        };
        let mut fields = Vec::new();
        for entry in &made.entries {
            let EntryExpr::StructField(field) = &entry.expr else { continue };
            let value = self.node(&field.value);
            let found = self.entry_type(&value, field.optional);
            let wanted = match &ty {
                Type::Object(object) => object.field(&field.field),
                _ => None,
            };
            match wanted {
                None => {
                    self.refuse(entry.id, format!("undefined field '{}'", field.field));
                }
                Some(wanted) if !self.bindings.assignable(&found, &wanted) => {
                    let found = self.shown(&found);
                    let field = &field.field;
                    let message =
                        format!("expected type of field '{field}' is '{wanted}' but provided type is '{found}'");
                    self.refuse(entry.id, message);
                }
                Some(_) => {}
            }
            fields.push((field.field.as_str().into(), value, field.optional));
        }
        (Kind::Struct(name.into(), fields), ty)
    }

    fn comprehension(&mut self, made: &ComprehensionExpr) -> (Kind, Type) {
        let range = self.node(&made.iter_range);
        let init = self.node(&made.accu_init);
        let (key, value) = match self.bindings.resolve(&range.ty, None) {
            Type::List(item) => (Type::Int, item.as_ref().clone()),
            Type::Map(key, value) => (key.as_ref().clone(), value.as_ref().clone()),
            Type::Dyn | Type::Error | Type::Param(_) => (Type::Dyn, Type::Dyn),
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.refuse(range.id, message);
                (Type::Error, Type::Error)
            }
        };
        let is_map = matches!(self.bindings.resolve(&range.ty, None), Type::Map(..));
        let depth = self.scopes.len();
        self.scopes.push((made.accu_var.clone(), init.ty.clone()));
        match &made.iter_var2 {
            Some(second) => {
                self.scopes.push((made.iter_var.clone(), key));
                self.scopes.push((second.clone(), value));
            }
            None => self.scopes.push((made.iter_var.clone(), if is_map { key } else { value })),
        }
        let condition = self.node(&made.loop_cond);
        self.expect(&condition, &Type::Bool);
        let step = self.node(&made.loop_step);
        self.expect(&step, &init.ty);
        self.scopes.truncate(depth + 1);
        let result = self.node(&made.result);
        self.scopes.truncate(depth);
        let ty = result.ty.clone();
        let comprehension = Comprehension {
            range,
            variable: made.iter_var.as_str().into(),
            second: made.iter_var2.as_deref().map(Into::into),
            accumulator: made.accu_var.as_str().into(),
            init,
            condition,
            step,
            result,
        };
        (Kind::Comprehension(Box::new(comprehension)), ty)
    }

    fn expect(&mut self, node: &Node, wanted: &Type) {
        if !self.bindings.assignable(&node.ty, wanted) && node.ty != Type::Error {
            let (wanted, found) = (self.shown(wanted), self.shown(&node.ty));
            self.refuse(node.id, format!("expected type '{wanted}' but found '{found}'"));
        }
    }

    /// Puts what was found out in place of parameters; what stays open can be anything.
    fn settle(&self, node: &mut Node) {
        node.ty = self.bindings.resolve(&node.ty, Some(&Type::Dyn));
        node.children_mut().into_iter().for_each(|child| self.settle(child));
    }
}

fn literal(of: &LiteralValue) -> (Kind, Type) {
    let (value, ty) = match of {
        LiteralValue::Boolean(b) => (Value::Bool(*b.inner()), Type::Bool),
        LiteralValue::Bytes(b) => (Value::Bytes(b.inner().into()), Type::Bytes),
        LiteralValue::Double(d) => (Value::Double(*d.inner()), Type::Double),
        LiteralValue::Int(i) => (Value::Int(*i.inner()), Type::Int),
        LiteralValue::Null => (Value::Null, Type::Null),
        LiteralValue::String(s) => (Value::from(s.inner()), Type::String),
        LiteralValue::UInt(u) => (Value::Uint(*u.inner()), Type::Uint),
    };
    (Kind::Literal(value), ty)
}

/// `a.b.c` as a name.
fn dotted(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) if !select.test => Some(format!("{}.{}", dotted(&select.operand.expr)?, select.field)),
        _ => None,
    }
}
