//! The types of expressions, and how the checker compares them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A type of CEL. Shows as the checker's messages spell it.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// Checked when the expression runs.
    Dyn,
    /// Of an expression that was refused already; fits everywhere, so that one mistake is reported once.
    Error,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    List(Arc<Type>),
    Map(Arc<Type>, Arc<Type>),
    Object(ObjectType),
    /// A type with functions only: `kubernetes.URL`, `optional_type(T)`.
    Opaque(&'static str, Vec<Type>),
    /// The type of a type.
    Type(Arc<Type>),
    /// A parameter of a function's signature, or what the checker still has to find out.
    Param(usize),
}

/// A type with named fields.
#[derive(Clone)]
pub struct ObjectType {
    name: Arc<str>,
    fields: Arc<dyn Fields>,
}

/// The fields of an object type. They may be made on demand: types may contain themselves.
pub trait Fields: Send + Sync {
    fn field(&self, name: &str) -> Option<Type>;
}

impl Fields for BTreeMap<String, Type> {
    fn field(&self, name: &str) -> Option<Type> {
        self.get(name).cloned()
    }
}

impl ObjectType {
    pub fn new(name: &str, fields: impl Fields + 'static) -> ObjectType {
        ObjectType { name: name.into(), fields: Arc::new(fields) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn field(&self, name: &str) -> Option<Type> {
        self.fields.field(name)
    }
}

impl fmt::Debug for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl PartialEq for ObjectType {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

pub(crate) const OPTIONAL: &str = "optional_type";

impl Type {
    /// The type of simple values that has this name.
    pub(crate) fn scalar(name: &str) -> Option<Type> {
        Some(match name {
            "bool" => Type::Bool,
            "int" => Type::Int,
            "uint" => Type::Uint,
            "double" => Type::Double,
            "string" => Type::String,
            "bytes" => Type::Bytes,
            _ => return None,
        })
    }

    pub fn list(item: Type) -> Type {
        Type::List(Arc::new(item))
    }

    pub fn map(key: Type, value: Type) -> Type {
        Type::Map(Arc::new(key), Arc::new(value))
    }

    pub fn optional(inner: Type) -> Type {
        Type::Opaque(OPTIONAL, vec![inner])
    }

    /// An object type with these fields.
    pub fn object<const N: usize>(name: &str, fields: [(&str, Type); N]) -> Type {
        let fields: BTreeMap<String, Type> = fields.into_iter().map(|(n, t)| (n.to_owned(), t)).collect();
        Type::Object(ObjectType::new(name, fields))
    }

    pub(crate) fn is_dyn(&self) -> bool {
        matches!(self, Type::Dyn | Type::Error)
    }

    /// What an optional may hold.
    pub(crate) fn optional_inner(&self) -> Option<&Type> {
        match self {
            Type::Opaque(OPTIONAL, inner) => inner.first(),
            _ => None,
        }
    }

    /// Whether `null` stands for a value of this type.
    fn takes_null(&self) -> bool {
        matches!(self, Type::Object(_) | Type::Timestamp | Type::Duration | Type::Opaque(..))
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Dyn => f.write_str("dyn"),
            Type::Error => f.write_str("!error!"),
            Type::Null => f.write_str("null"),
            Type::Bool => f.write_str("bool"),
            Type::Int => f.write_str("int"),
            Type::Uint => f.write_str("uint"),
            Type::Double => f.write_str("double"),
            Type::String => f.write_str("string"),
            Type::Bytes => f.write_str("bytes"),
            Type::Timestamp => f.write_str("google.protobuf.Timestamp"),
            Type::Duration => f.write_str("google.protobuf.Duration"),
            Type::List(item) => write!(f, "list({item})"),
            Type::Map(key, value) => write!(f, "map({key}, {value})"),
            Type::Object(object) => f.write_str(&object.name),
            Type::Opaque(name, inner) if inner.is_empty() => f.write_str(name),
            Type::Opaque(name, inner) => {
                let inner: Vec<String> = inner.iter().map(Type::to_string).collect();
                write!(f, "{name}({})", inner.join(", "))
            }
            Type::Type(inner) => write!(f, "type({inner})"),
            Type::Param(id) => write!(f, "_var{id}"),
        }
    }
}

/// What the checker found out about parameters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bindings(Vec<Option<Type>>);

impl Bindings {
    /// A parameter that nothing is known of yet.
    pub(crate) fn fresh(&mut self) -> Type {
        self.0.push(None);
        Type::Param(self.0.len() - 1)
    }

    /// The types of a signature with `count` parameters of its own made fresh.
    pub(crate) fn instantiate(&mut self, types: &[Type], count: usize) -> Vec<Type> {
        let base = self.0.len();
        self.0.extend(std::iter::repeat_n(None, count));
        types.iter().map(|t| shift(t, base)).collect()
    }

    /// The type with what is known of its parameters; `open` stands for the rest.
    pub(crate) fn resolve(&self, of: &Type, open: Option<&Type>) -> Type {
        let inner = |t: &Type| self.resolve(t, open);
        match of {
            Type::Param(id) => match self.0.get(*id) {
                Some(Some(bound)) => inner(bound),
                _ => open.cloned().unwrap_or(Type::Param(*id)),
            },
            Type::List(item) => Type::list(inner(item)),
            Type::Map(key, value) => Type::map(inner(key), inner(value)),
            Type::Opaque(name, args) => Type::Opaque(name, args.iter().map(inner).collect()),
            Type::Type(of) => Type::Type(Arc::new(inner(of))),
            other => other.clone(),
        }
    }

    /// Whether a value of the type `from` may stand where `to` is wanted; binds parameters.
    pub(crate) fn assignable(&mut self, from: &Type, to: &Type) -> bool {
        let (from, to) = (self.shallow(from), self.shallow(to));
        match (&from, &to) {
            (Type::Param(a), Type::Param(b)) if a == b => true,
            (_, Type::Param(id)) => self.bind(*id, &from),
            (Type::Param(id), _) => self.bind(*id, &to),
            _ if from.is_dyn() || to.is_dyn() => true,
            (Type::Null, other) | (other, Type::Null) if other.takes_null() => true,
            (Type::List(a), Type::List(b)) => self.assignable(a, b),
            (Type::Map(ak, av), Type::Map(bk, bv)) => self.assignable(ak, bk) && self.assignable(av, bv),
            (Type::Opaque(a, ai), Type::Opaque(b, bi)) => {
                a == b && ai.len() == bi.len() && ai.iter().zip(bi).all(|(a, b)| self.assignable(a, b))
            }
            (Type::Type(_), Type::Type(_)) => true,
            (a, b) => a == b,
        }
    }

    /// As [`Bindings::assignable`] for all pairs; binds nothing when one does not fit.
    pub(crate) fn all_assignable(&mut self, from: &[Type], to: &[Type]) -> bool {
        let before = self.0.clone();
        let fits = from.len() == to.len() && from.iter().zip(to).all(|(f, t)| self.assignable(f, t));
        if !fits {
            self.0 = before;
        }
        fits
    }

    fn shallow(&self, of: &Type) -> Type {
        match of {
            Type::Param(id) => match self.0.get(*id) {
                Some(Some(bound)) => self.shallow(bound),
                _ => of.clone(),
            },
            other => other.clone(),
        }
    }

    fn bind(&mut self, id: usize, to: &Type) -> bool {
        if self.occurs(id, to) {
            return false;
        }
        self.0[id] = Some(to.clone());
        true
    }

    fn occurs(&self, id: usize, within: &Type) -> bool {
        match within {
            Type::Param(other) => {
                *other == id || self.0.get(*other).is_some_and(|b| b.as_ref().is_some_and(|b| self.occurs(id, b)))
            }
            Type::List(item) => self.occurs(id, item),
            Type::Map(key, value) => self.occurs(id, key) || self.occurs(id, value),
            Type::Opaque(_, inner) => inner.iter().any(|t| self.occurs(id, t)),
            Type::Type(of) => self.occurs(id, of),
            _ => false,
        }
    }
}

/// A signature's types with the numbers of its parameters moved up.
fn shift(of: &Type, by: usize) -> Type {
    match of {
        Type::Param(id) => Type::Param(id + by),
        Type::List(item) => Type::list(shift(item, by)),
        Type::Map(key, value) => Type::map(shift(key, by), shift(value, by)),
        Type::Opaque(name, inner) => Type::Opaque(name, inner.iter().map(|t| shift(t, by)).collect()),
        Type::Type(of) => Type::Type(Arc::new(shift(of, by))),
        other => other.clone(),
    }
}
