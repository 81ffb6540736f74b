//! The values of expressions.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use api_types::quantity::Quantity;
use jiff::Timestamp;

use crate::library::{AuthorizerValue, Cidr, NamedFormat, Url};

/// A value of CEL. Cloning is cheap.
#[derive(Clone, Debug)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
    Timestamp(Timestamp),
    /// Nanoseconds.
    Duration(i64),
    List(List),
    Map(Arc<BTreeMap<Key, Value>>),
    /// A map that gives the second value for keys that it does not have.
    Defaulting(Arc<BTreeMap<Key, Value>>, Arc<Value>),
    Optional(Option<Arc<Value>>),
    /// A type, by its name.
    Type(Arc<str>),
    /// `Object{}`, `JSONPatch{}`: the type's name and the fields that were given.
    Struct(Arc<str>, Arc<BTreeMap<Key, Value>>),
    Quantity(Quantity),
    Url(Arc<Url>),
    Ip(IpAddr),
    Cidr(Cidr),
    Semver(Arc<semver::Version>),
    Format(&'static NamedFormat),
    Authorizer(Arc<AuthorizerValue>),
}

/// A list. What the schema says of it decides about equality: items of sets and keyed lists have no order.
#[derive(Clone, Debug, Default)]
pub struct List {
    pub items: Arc<Vec<Value>>,
    pub kind: ListKind,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListKind {
    #[default]
    Atomic,
    Set,
    /// Items are told apart by these fields.
    Map(Arc<[String]>),
}

/// A key of a map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Bool(bool),
    Int(i64),
    Uint(u64),
    String(Arc<str>),
}

impl Key {
    /// The value as a key, if it can be one. Numbers that are equal are the same key.
    pub fn of(value: &Value) -> Option<Key> {
        match value {
            Value::Bool(b) => Some(Key::Bool(*b)),
            Value::Int(i) => Some(Key::Int(*i)),
            Value::Uint(u) => Some(i64::try_from(*u).map_or(Key::Uint(*u), Key::Int)),
            Value::Double(d) if d.fract() == 0.0 && d.abs() < 9e15 => Some(Key::Int(*d as i64)),
            Value::String(s) => Some(Key::String(Arc::clone(s))),
            _ => None,
        }
    }

    pub fn value(&self) -> Value {
        match self {
            Key::Bool(b) => Value::Bool(*b),
            Key::Int(i) => Value::Int(*i),
            Key::Uint(u) => Value::Uint(*u),
            Key::String(s) => Value::String(Arc::clone(s)),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Key::Bool(b) => write!(f, "{b}"),
            Key::Int(i) => write!(f, "{i}"),
            Key::Uint(u) => write!(f, "{u}"),
            Key::String(s) => f.write_str(s),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::String(text.into())
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Value {
        Value::Bool(truth)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Int(number)
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Value {
        Value::List(List { items: Arc::new(items), kind: ListKind::Atomic })
    }
}

impl Value {
    pub fn none() -> Value {
        Value::Optional(None)
    }

    pub fn some(value: Value) -> Value {
        Value::Optional(Some(Arc::new(value)))
    }

    pub fn map(fields: impl IntoIterator<Item = (String, Value)>) -> Value {
        Value::Map(Arc::new(fields.into_iter().map(|(k, v)| (Key::String(k.into()), v)).collect()))
    }

    /// JSON without a schema: whole numbers are integers, texts stay texts.
    pub fn from_json(json: &serde_json::Value) -> Value {
        match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(b) => Value::Bool(*b),
            serde_json::Value::Number(n) => {
                n.as_i64().map_or_else(|| Value::Double(n.as_f64().unwrap_or_default()), Value::Int)
            }
            serde_json::Value::String(text) => Value::from(text.as_str()),
            serde_json::Value::Array(items) => items.iter().map(Value::from_json).collect::<Vec<_>>().into(),
            serde_json::Value::Object(fields) => {
                Value::map(fields.iter().map(|(k, v)| (k.clone(), Value::from_json(v))))
            }
        }
    }

    /// The value as JSON; nothing for values that JSON has no form of.
    pub fn to_json(&self) -> Option<serde_json::Value> {
        Some(match self {
            Value::Null | Value::Optional(None) => serde_json::Value::Null,
            Value::Bool(b) => (*b).into(),
            Value::Int(i) => (*i).into(),
            Value::Uint(u) => (*u).into(),
            Value::Double(d) if d.fract() == 0.0 && d.abs() < 9e15 => (*d as i64).into(),
            Value::Double(d) => (*d).into(),
            Value::String(s) => s.to_string().into(),
            Value::Bytes(b) => {
                use base64::Engine as _;
                base64::engine::general_purpose::STANDARD.encode(b).into()
            }
            Value::Timestamp(t) => api_types::time::format(t).into(),
            Value::Duration(nanos) => format!("{}s", *nanos as f64 / 1e9).into(),
            Value::List(list) => {
                serde_json::Value::Array(list.items.iter().map(Value::to_json).collect::<Option<_>>()?)
            }
            Value::Map(fields) | Value::Struct(_, fields) => serde_json::Value::Object(
                fields.iter().map(|(k, v)| Some((k.to_string(), v.to_json()?))).collect::<Option<_>>()?,
            ),
            Value::Optional(Some(inner)) => inner.to_json()?,
            _ => return None,
        })
    }

    /// The name of the value's type, as `type()` gives it.
    pub fn type_name(&self) -> &str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::String(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::Timestamp(_) => "google.protobuf.Timestamp",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::List(_) => "list",
            Value::Map(_) | Value::Defaulting(..) => "map",
            Value::Optional(_) => "optional_type",
            Value::Type(_) => "type",
            Value::Struct(name, _) => name,
            Value::Quantity(_) => "kubernetes.Quantity",
            Value::Url(_) => "kubernetes.URL",
            Value::Ip(_) => "net.IP",
            Value::Cidr(_) => "net.CIDR",
            Value::Semver(_) => "kubernetes.Semver",
            Value::Format(_) => "kubernetes.NamedFormat",
            Value::Authorizer(value) => value.type_name(),
        }
    }

    /// The size that costs are counted by; 1 for what has none.
    pub(crate) fn cost_size(&self) -> u64 {
        match self {
            Value::String(s) => s.chars().count() as u64,
            Value::Bytes(b) => b.len() as u64,
            Value::List(list) => list.items.len() as u64,
            Value::Map(map) | Value::Defaulting(map, _) => map.len() as u64,
            Value::Ip(ip) => {
                if ip.is_ipv4() {
                    4
                } else {
                    16
                }
            }
            Value::Cidr(cidr) => {
                if cidr.address.is_ipv4() {
                    4
                } else {
                    16
                }
            }
            _ => 1,
        }
    }

    /// The order of two values of comparable types.
    pub(crate) fn compare(&self, other: &Value) -> Option<Ordering> {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
            (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
            (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
            (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
            (Value::Uint(a), Value::Uint(b)) => Some(a.cmp(b)),
            (Value::Int(a), Value::Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Value::Uint(a), Value::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (a, b) => a.as_number()?.partial_cmp(&b.as_number()?),
        }
    }

    fn as_number(&self) -> Option<f64> {
        match self {
            Value::Int(i) => Some(*i as f64),
            Value::Uint(u) => Some(*u as f64),
            Value::Double(d) => Some(*d),
            _ => None,
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::List(a), Value::List(b)) => a == b,
            (Value::Map(a) | Value::Defaulting(a, _), Value::Map(b) | Value::Defaulting(b, _)) => a == b,
            (Value::Struct(a, af), Value::Struct(b, bf)) => a == b && af == bf,
            (Value::Optional(a), Value::Optional(b)) => a == b,
            (Value::Type(a), Value::Type(b)) => a == b,
            (Value::Quantity(a), Value::Quantity(b)) => a.nanos() == b.nanos(),
            (Value::Url(a), Value::Url(b)) => a == b,
            (Value::Ip(a), Value::Ip(b)) => a == b,
            (Value::Cidr(a), Value::Cidr(b)) => a == b,
            (Value::Semver(a), Value::Semver(b)) => a == b,
            (Value::Format(a), Value::Format(b)) => std::ptr::eq(*a, *b),
            (a, b) => a.compare(b) == Some(Ordering::Equal),
        }
    }
}

impl PartialEq for List {
    fn eq(&self, other: &List) -> bool {
        if self.items.len() != other.items.len() {
            return false;
        }
        match &self.kind {
            ListKind::Atomic => self.items == other.items,
            ListKind::Set => self.items.iter().all(|item| other.items.contains(item)),
            ListKind::Map(keys) => self
                .items
                .iter()
                .all(|item| other.items.iter().find(|o| same_keys(item, o, keys)).is_some_and(|found| found == item)),
        }
    }
}

/// Whether two items of a keyed list are the same entry.
pub(crate) fn same_keys(a: &Value, b: &Value, keys: &[String]) -> bool {
    let (Value::Map(a), Value::Map(b)) = (a, b) else { return false };
    keys.iter().all(|name| {
        let key = Key::String(name.as_str().into());
        a.get(&key) == b.get(&key)
    })
}
