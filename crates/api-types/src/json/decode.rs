//! Documents into normalized values, checked against the schema, with the error texts of upstream's decoder.

use std::borrow::Cow;
use std::collections::HashSet;

use base64::Engine;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map as Object, Value};

use super::parse::{Doc, SyntaxError, double, number, parse};
use crate::quantity::Quantity;
use crate::schema::{Field, JsonForm, Scalar, Struct, Type, normalize, normalize_as_sent};
use crate::{duration, time};

/// Go's standard encoding: padded, but bits that stand for no byte may be anything.
const GO_BASE64: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// Upstream stops collecting strict errors here.
const MAX_STRICT_ERRORS: usize = 100;

/// Members of an object that are compared with each other one by one.
const FEW: usize = 64;

/// A decoded object and what a strict reader would refuse: `unknown field "spec.foo"`, `duplicate field "..."`.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    pub value: Value,
    pub strict_errors: Vec<String>,
}

impl Decoded {
    /// `strict decoding error: unknown field "a", unknown field "b"`, when there is one.
    pub fn strict_error(&self) -> Option<String> {
        (!self.strict_errors.is_empty()).then(|| format!("strict decoding error: {}", self.strict_errors.join(", ")))
    }
}

/// Why a document is no object of the schema. The text is upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// `json: cannot unmarshal ...` and the errors of special types.
    #[error("{0}")]
    Type(String),
}

/// Decodes one JSON document. The value is normalized when the schema is a built-in type.
pub fn decode(text: &[u8], schema: &Type) -> Result<Decoded, DecodeError> {
    decode_doc(&parse(text)?, schema)
}

/// [`decode`] of a document that is parsed already (or came from YAML).
pub fn decode_doc(doc: &Doc<'_>, schema: &Type) -> Result<Decoded, DecodeError> {
    let mut decoded = decode_as_sent(doc, schema)?;
    normalize(&mut decoded.value, schema);
    Ok(decoded)
}

/// [`decode_doc`] for what a client sent and nobody judged yet: lists and maps that are there and empty stay so (see
/// [`normalize_as_sent`]).
pub fn decode_as_sent(doc: &Doc<'_>, schema: &Type) -> Result<Decoded, DecodeError> {
    let mut decoder = Decoder::default();
    let mut value = decoder.any(doc, schema, None);
    if let Some(error) = decoder.error {
        return Err(DecodeError::Type(error));
    }
    normalize_as_sent(&mut value, schema);
    Ok(Decoded { value, strict_errors: decoder.strict_errors })
}

/// [`decode`] of a value (after a patch): brings it back to the schema's form.
pub fn decode_value(value: &Value, schema: &Type) -> Result<Decoded, DecodeError> {
    decode_doc(&Doc::from(value), schema)
}

/// Where in the document we are, kept as references: only errors make text of it.
#[derive(Default)]
struct Decoder<'a> {
    /// The typed structs that we are in, each with the field that leads on.
    go: Vec<(&'a Struct, &'a str)>,
    /// The path for strict errors: with indexes and map keys.
    path: Vec<Step<'a>>,
    error: Option<String>,
    strict_errors: Vec<String>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Name(&'a str),
    Index(usize),
}

impl<'a> Decoder<'a> {
    fn fail(&mut self, text: String) {
        self.error.get_or_insert(text);
    }

    /// Go's error context has the names of fields, also of inlined ones, but no indexes and no map keys.
    fn cannot(&mut self, what: &str, go_type: &str) -> Value {
        let text = match self.go.last() {
            None => format!("json: cannot unmarshal {what} into Go value of type {go_type}"),
            Some((innermost, _)) => {
                let fields: Vec<&str> = self.go.iter().flat_map(|(of, field)| go_path(of, field)).collect();
                let fields = fields.join(".");
                format!(
                    "json: cannot unmarshal {what} into Go struct field {}.{fields} of type {go_type}",
                    innermost.name
                )
            }
        };
        self.fail(text);
        Value::Null
    }

    fn strict(&mut self, what: &str, name: &str) {
        if self.strict_errors.len() < MAX_STRICT_ERRORS {
            let mut path = String::new();
            for step in &self.path {
                match step {
                    Step::Name(name) => {
                        path.push_str(if path.is_empty() { "" } else { "." });
                        path.push_str(name);
                    }
                    Step::Index(index) => path.push_str(&format!("[{index}]")),
                }
            }
            let dot = if path.is_empty() { "" } else { "." };
            self.strict_errors.push(format!("{what} field \"{path}{dot}{name}\""));
        }
    }

    fn any(&mut self, doc: &'a Doc<'_>, ty: &'a Type, field: Option<&'a Field>) -> Value {
        match ty {
            Type::Any => self.free(doc),
            Type::Scalar(scalar) => self.scalar(doc, *scalar, field),
            Type::Struct(of) => self.structure(doc, of),
            Type::List(list) => self.list(doc, list, field),
            Type::Map(map) => self.map(doc, map, field),
        }
    }

    /// Free JSON: only duplicates are reported.
    fn free(&mut self, doc: &'a Doc<'_>) -> Value {
        match doc {
            Doc::Object(members) => {
                let mut object = Object::new();
                for (key, member) in members {
                    self.duplicate(&object, key);
                    self.path.push(Step::Name(key));
                    let value = self.free(member);
                    self.path.pop();
                    object.insert(key.to_string(), value);
                }
                Value::Object(object)
            }
            Doc::Array(items) => self.indexed(items, |this, item| this.free(item)),
            _ => doc.to_value(),
        }
    }

    fn duplicate(&mut self, object: &Object<String, Value>, key: &str) {
        if object.contains_key(key) {
            self.strict("duplicate", key);
        }
    }

    fn indexed<'d>(&mut self, items: &'a [Doc<'d>], mut read: impl FnMut(&mut Self, &'a Doc<'d>) -> Value) -> Value {
        let mut out = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            self.path.push(Step::Index(index));
            out.push(read(self, item));
            self.path.pop();
        }
        Value::Array(out)
    }

    fn list(&mut self, doc: &'a Doc<'_>, list: &'a crate::schema::List, field: Option<&'a Field>) -> Value {
        match doc {
            Doc::Null => Value::Null,
            Doc::Array(items) => self.indexed(items, |this, item| this.any(item, &list.item, field)),
            _ if is_untyped(&list.item) && self.go.is_empty() => doc.to_value(),
            _ => {
                let go_type = match &list.go_type {
                    Some(name) => name.to_string(),
                    _ => format!("[]{}", go_type(&list.item, field)),
                };
                self.cannot(doc.kind(), &go_type)
            }
        }
    }

    fn map(&mut self, doc: &'a Doc<'_>, map: &'a crate::schema::Map, field: Option<&'a Field>) -> Value {
        match doc {
            Doc::Null => Value::Null,
            Doc::Object(members) => {
                let mut object = Object::new();
                for (key, member) in members {
                    self.duplicate(&object, key);
                    self.path.push(Step::Name(key));
                    let value = self.any(member, &map.value, field);
                    self.path.pop();
                    object.insert(key.to_string(), value);
                }
                Value::Object(object)
            }
            _ if is_untyped(&map.value) && self.go.is_empty() => doc.to_value(),
            _ => {
                let go_type = match &map.go_type {
                    Some(name) => name.to_string(),
                    None => {
                        let key = map.go_key.as_deref().unwrap_or("string");
                        format!("map[{key}]{}", go_type(&map.value, field))
                    }
                };
                self.cannot(doc.kind(), &go_type)
            }
        }
    }

    fn structure(&mut self, doc: &'a Doc<'_>, of: &'a Struct) -> Value {
        match (doc, of.form) {
            (Doc::Object(members), JsonForm::Object) => self.members(members, of),
            (Doc::Null, _) => Value::Null,
            (_, JsonForm::Object) if !of.typed => doc.to_value(),
            (_, JsonForm::Object) => self.cannot(doc.kind(), &of.go_name()),
            _ => self.alternative(doc, of),
        }
    }

    /// A schema, or what may stand in its place. Upstream's own decoders of these are not strict.
    fn alternative(&mut self, doc: &'a Doc<'_>, of: &'a Struct) -> Value {
        let reported = self.strict_errors.len();
        let value = self.leniently(doc, of);
        self.strict_errors.truncate(reported);
        value
    }

    fn leniently(&mut self, doc: &'a Doc<'_>, of: &'a Struct) -> Value {
        let schema = of.fields.iter().map(|f| &f.ty).find(|t| matches!(t, Type::Struct(_))).unwrap_or(&Type::Any);
        match (doc, of.form) {
            (Doc::Object(_), _) => self.any(doc, schema, None),
            (Doc::Bool(_), JsonForm::SchemaOrBool) => doc.to_value(),
            (Doc::Array(items), JsonForm::SchemaOrArray) => {
                self.indexed(items, |this, item| this.any(item, schema, None))
            }
            (Doc::Array(items), JsonForm::SchemaOrStrings) => {
                self.indexed(items, |this, item| this.scalar(item, Scalar::String, None))
            }
            (_, JsonForm::SchemaOrBool) => {
                self.fail("boolean or JSON schema expected".to_owned());
                Value::Null
            }
            // Upstream ignores what is neither.
            _ => Value::Null,
        }
    }

    fn members(&mut self, members: &'a [(Cow<'_, str>, Doc<'_>)], of: &'a Struct) -> Value {
        let mut object = Object::new();
        // Objects are small, so a look at each earlier member is the fastest way; hostile ones are not.
        let mut seen = (members.len() > FEW).then(HashSet::new);
        for (at, (key, member)) in members.iter().enumerate() {
            let repeated = match &mut seen {
                Some(seen) => !seen.insert(key.as_ref()),
                None => members[..at].iter().any(|(earlier, _)| earlier == key),
            };
            if repeated {
                self.strict("duplicate", key);
            }
            match of.field(key) {
                Some(field) => {
                    let value = self.member(member, of, field);
                    object.insert(key.to_string(), value);
                }
                None if of.open => {
                    self.path.push(Step::Name(key));
                    let value = self.free(member);
                    self.path.pop();
                    object.insert(key.to_string(), value);
                }
                None => self.strict("unknown", key),
            }
        }
        Value::Object(object)
    }

    fn member(&mut self, doc: &'a Doc<'_>, of: &'a Struct, field: &'a Field) -> Value {
        self.path.push(Step::Name(&field.name));
        let value = if of.typed {
            self.go.push((of, &field.name));
            let value = self.any(doc, &field.ty, Some(field));
            self.go.pop();
            value
        } else {
            self.any(doc, &field.ty, None)
        };
        self.path.pop();
        value
    }

    fn scalar(&mut self, doc: &Doc<'_>, scalar: Scalar, field: Option<&Field>) -> Value {
        if self.go.is_empty() {
            // A custom resource: validation, not decoding, judges types.
            return doc.to_value();
        }
        match (scalar, doc) {
            (_, Doc::Null) => Value::Null,
            (Scalar::String, Doc::String(_)) | (Scalar::Bool, Doc::Bool(_)) => doc.to_value(),
            (Scalar::Int32, Doc::Number(text)) => self.integer(text, i32::MIN.into(), i32::MAX.into(), scalar, field),
            (Scalar::Int64, Doc::Number(text)) => self.integer(text, i64::MIN, i64::MAX, scalar, field),
            (Scalar::Double, Doc::Number(text)) => {
                number(text).map_or(Value::Null, |n| double(n.as_f64().unwrap_or_default()))
            }
            (Scalar::Bytes, Doc::String(text)) => self.bytes(text),
            (Scalar::Quantity, _) => self.quantity(doc),
            (Scalar::IntOrString, _) => self.int_or_string(doc),
            (Scalar::Time | Scalar::MicroTime | Scalar::Duration, Doc::String(text)) => self.timely(text, scalar),
            (Scalar::Time | Scalar::MicroTime | Scalar::Duration, _) => self.cannot(doc.kind(), "string"),
            _ => {
                let name = go_type(&Type::Scalar(scalar), field);
                self.cannot(doc.kind(), &name)
            }
        }
    }

    fn integer(&mut self, text: &str, min: i64, max: i64, scalar: Scalar, field: Option<&Field>) -> Value {
        match text.parse::<i64>() {
            Ok(n) if (min..=max).contains(&n) => Value::from(n),
            _ => {
                let name = go_type(&Type::Scalar(scalar), field);
                self.cannot(&format!("number {text}"), &name)
            }
        }
    }

    fn bytes(&mut self, text: &str) -> Value {
        let clean: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        match GO_BASE64.decode(&clean) {
            Ok(bytes) => Value::String(base64::engine::general_purpose::STANDARD.encode(bytes)),
            Err(error) => {
                let at = match error {
                    base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                    // Go names the start of the broken last group.
                    _ => clean.trim_end_matches('=').len() / 4 * 4,
                };
                self.fail(format!("illegal base64 data at input byte {at}"));
                Value::Null
            }
        }
    }

    fn quantity(&mut self, doc: &Doc<'_>) -> Value {
        let text = match doc {
            Doc::String(text) | Doc::Number(text) => text.trim().to_owned(),
            other => serde_json::to_string(&other.to_value()).unwrap_or_default(),
        };
        match text.parse::<Quantity>() {
            Ok(quantity) => Value::String(quantity.to_string()),
            Err(error) => {
                self.fail(error.to_string());
                Value::Null
            }
        }
    }

    fn int_or_string(&mut self, doc: &Doc<'_>) -> Value {
        match doc {
            Doc::String(_) => doc.to_value(),
            Doc::Number(text) => match text.parse::<i32>() {
                Ok(n) => Value::from(n),
                Err(_) => self.cannot(&format!("number {text}"), "int32"),
            },
            _ => self.cannot(doc.kind(), "int32"),
        }
    }

    fn timely(&mut self, text: &str, scalar: Scalar) -> Value {
        let parsed = match scalar {
            Scalar::Time => time::parse(text).map(|t| time::format(&t)).map_err(|e| e.to_string()),
            Scalar::MicroTime => time::parse_micro(text).map(|t| time::format_micro(&t)).map_err(|e| e.to_string()),
            _ => duration::parse(text).map(duration::format).map_err(|e| e.to_string()),
        };
        match parsed {
            Ok(text) => Value::String(text),
            Err(error) => {
                self.fail(error);
                Value::Null
            }
        }
    }
}

/// The field's name, after the Go names of the inlined structs that lead to it.
fn go_path<'a>(of: &'a Struct, name: &'a str) -> Vec<&'a str> {
    for field in &of.fields {
        if let (Some(go_name), Type::Struct(inner)) = (&field.inline, &field.ty)
            && inner.field(name).is_some()
        {
            return std::iter::once(go_name.as_ref()).chain(go_path(inner, name)).collect();
        }
    }
    vec![name]
}

fn is_untyped(ty: &Type) -> bool {
    !matches!(ty, Type::Struct(of) if of.typed)
}

/// A type's name in Go, as error texts show it.
fn go_type(ty: &Type, field: Option<&Field>) -> String {
    match ty {
        Type::Scalar(scalar) => {
            if let Some(name) = field.and_then(|f| f.go_type.as_deref()) {
                return name.to_owned();
            }
            match scalar {
                Scalar::String => "string",
                Scalar::Bool => "bool",
                Scalar::Int32 => "int32",
                Scalar::Int64 => "int64",
                Scalar::Double => "float64",
                Scalar::Bytes => "[]uint8",
                Scalar::Time => "v1.Time",
                Scalar::MicroTime => "v1.MicroTime",
                Scalar::Duration => "v1.Duration",
                Scalar::Quantity => "resource.Quantity",
                Scalar::IntOrString => "intstr.IntOrString",
            }
            .to_owned()
        }
        Type::Struct(of) => of.go_name(),
        Type::List(list) => match &list.go_type {
            Some(name) => name.to_string(),
            None => format!("[]{}", go_type(&list.item, field)),
        },
        Type::Map(map) => format!("map[string]{}", go_type(&map.value, field)),
        Type::Any => field.and_then(|f| f.go_type.as_deref()).unwrap_or("interface {}").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::lookup;

    fn pod(text: &str) -> Result<Decoded, DecodeError> {
        decode(text.as_bytes(), &lookup("", "v1", "Pod").expect("Pod"))
    }

    fn error(text: &str) -> String {
        pod(text).expect_err(text).to_string()
    }

    #[test]
    fn strict_errors_name_the_path() {
        let decoded = pod(r#"{"spec":{"foo":1,"containers":[{"name":"a","name":"b","x":{}}]},"metadata":{"labels":{"a":"b","a":"c"}}}"#)
            .expect("decodes");
        assert_eq!(
            decoded.strict_error().expect("strict"),
            "strict decoding error: unknown field \"spec.foo\", duplicate field \"spec.containers[0].name\", \
             unknown field \"spec.containers[0].x\", duplicate field \"metadata.labels.a\""
        );
        assert_eq!(decoded.value["spec"]["containers"][0]["name"], "b");
    }

    #[test]
    fn repeats_are_found_among_few_and_many_members() {
        for count in [3, FEW + 10] {
            let unknown: Vec<String> = (0..count).map(|n| format!("\"x{n}\":0")).collect();
            let text = format!("{{\"spec\":{{\"hostIPC\":true,{},\"hostIPC\":true}}}}", unknown.join(","));
            let errors = pod(&text).expect("decodes").strict_errors;
            assert_eq!(errors.len(), count + 1);
            assert_eq!(errors[count], "duplicate field \"spec.hostIPC\"");
        }
    }

    #[test]
    fn wrong_types_read_as_in_go() {
        assert_eq!(
            error(r#"{"spec":{"hostNetwork":"x"}}"#),
            "json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool"
        );
        assert_eq!(
            error(r#"{"spec":{"dnsPolicy":1}}"#),
            "json: cannot unmarshal number into Go struct field PodSpec.spec.dnsPolicy of type v1.DNSPolicy"
        );
        assert_eq!(error("[]"), "json: cannot unmarshal array into Go value of type v1.Pod");
        assert_eq!(
            error(r#"{"spec":{"priority":3000000000}}"#),
            "json: cannot unmarshal number 3000000000 into Go struct field PodSpec.spec.priority of type int32"
        );
    }

    #[test]
    fn values_are_normalized() {
        let decoded =
            pod(r#"{"spec":{"hostNetwork":false,"containers":null,"overhead":{"cpu":1}},"metadata":{"labels":{}}}"#)
                .expect("decodes");
        assert_eq!(
            decoded.value,
            serde_json::json!({"metadata": {}, "spec": {"containers": null, "overhead": {"cpu": "1"}}, "status": {}})
        );
    }
}
