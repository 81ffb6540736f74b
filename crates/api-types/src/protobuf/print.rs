//! Canonical messages as JSON text and as messages with another resource version, without a value in between.
//!
//! A message is *canonical* when it is what [`encode_message`](super::encode_message) writes of a normalized value: what a
//! store holds that this code has written. Of such a message of a struct that
//! [is whole in protobuf](crate::schema::Struct::is_whole_in_protobuf) the results here are those of decoding and encoding
//! again, at a fraction of the cost. Of any other message they may differ; who does not know decodes.

use std::io::Write;

use base64::Engine;

use super::{
    DecodeError, MAGIC,
    decode::{self, MAX_DEPTH, ScalarMessage, bytes_of},
    wire::{Content, Reader, put_bytes, put_head},
};
use crate::{
    duration, json,
    schema::{Field, JsonForm, Map, Scalar, Struct, Type, normalize},
};

/// What an object says of itself besides its message.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    pub resource_version: &'a str,
}

/// Prints the canonical message of an object as [`json::encode`] would print its value.
///
/// # Errors
/// If the message can't be read; what was printed so far is then worthless.
pub fn print_object(message: &[u8], of: &Struct, identity: Identity<'_>, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let mut printer = Printer { out, parts: Vec::with_capacity(64) };
    for (name, text) in [("kind", identity.kind), ("apiVersion", identity.api_version)] {
        if let Some(at) = of.position(name) {
            printer.parts.push(Part { at, content: Piece::Text(text) });
        }
    }
    printer.structure(message, of, 0, Level::Object(identity.resource_version), 0)
}

/// The canonical message of an object with this resource version in its metadata.
///
/// # Errors
/// If the message can't be read, or has no metadata with a place for it.
pub fn with_resource_version(message: &[u8], of: &Struct, version: &str) -> Result<Vec<u8>, DecodeError> {
    const MISSING: DecodeError = DecodeError::Malformed("no metadata");
    let field = of.field("metadata").ok_or(MISSING)?;
    let Type::Struct(meta) = &field.ty else { return Err(MISSING) };
    let own = meta.field("resourceVersion").ok_or(MISSING)?;
    let outer = find(message, field.number)?.ok_or(MISSING)?;
    let inner = find(outer.content, own.number)?.ok_or(MISSING)?;
    let mut changed = Vec::with_capacity(outer.content.len() + version.len() + 2);
    changed.extend_from_slice(&outer.content[..inner.start]);
    put_bytes(&mut changed, own.number, version.as_bytes());
    changed.extend_from_slice(&outer.content[inner.end..]);
    let mut out = Vec::with_capacity(message.len() + version.len() + 4);
    out.extend_from_slice(&message[..outer.start]);
    put_head(&mut out, field.number, changed.len());
    out.extend_from_slice(&changed);
    out.extend_from_slice(&message[outer.end..]);
    Ok(out)
}

/// A field of bytes in a message: where it starts and ends, its head included.
struct Found<'a> {
    start: usize,
    end: usize,
    content: &'a [u8],
}

fn find(message: &[u8], wanted: u32) -> Result<Option<Found<'_>>, DecodeError> {
    let mut reader = Reader::new(message);
    loop {
        let start = message.len() - reader.remaining();
        match reader.next()? {
            None => return Ok(None),
            Some((number, Content::Bytes(content))) if number == wanted => {
                return Ok(Some(Found { start, end: message.len() - reader.remaining(), content }));
            }
            Some(_) => {}
        }
    }
}

/// What a field holds.
#[derive(Clone, Copy)]
enum Piece<'a> {
    Wire(Content<'a>),
    Text(&'a str),
}

/// One field of the message that is printed, by its place in [`Struct::flat`].
#[derive(Clone, Copy)]
struct Part<'a> {
    at: usize,
    content: Piece<'a>,
}

/// Where the resource version goes.
#[derive(Clone, Copy)]
enum Level<'a> {
    /// Into the metadata of this struct.
    Object(&'a str),
    /// Into this struct.
    Metadata(&'a str),
    Below,
}

struct Printer<'a, 'o> {
    out: &'o mut Vec<u8>,
    /// The fields of all structs that are being printed, the innermost's last.
    parts: Vec<Part<'a>>,
}

impl<'a> Printer<'a, '_> {
    /// Prints a struct whose parts start at `base`: those that are there, and those of `message`.
    fn structure(
        &mut self,
        message: &'a [u8],
        of: &Struct,
        base: usize,
        level: Level<'a>,
        depth: usize,
    ) -> Result<(), DecodeError> {
        if depth > MAX_DEPTH {
            return Err(DecodeError::Malformed("exceeded max depth"));
        }
        self.collect(message, of, 0)?;
        if let Level::Metadata(version) = level
            && let Some(at) = of.position("resourceVersion")
        {
            // The last part of a place counts.
            self.parts.push(Part { at, content: Piece::Text(version) });
        }
        // Lists are in order, and stay so.
        self.parts[base..].sort_by_key(|part| part.at);
        let end = self.parts.len();
        let (mut next, mut first) = (base, true);
        let mut printed = of.printed().peekable();
        self.out.push(b'{');
        while next < end || printed.peek().is_some() {
            let at = self.parts[..end].get(next).map(|part| part.at);
            if let Some((absent, zero)) = printed.next_if(|(absent, _)| at.is_none_or(|at| *absent < at)) {
                let field = &of.flat()[absent];
                self.key(&field.name, &mut first);
                match zero {
                    serde_json::Value::Null => self.out.extend_from_slice(b"null"),
                    zero => json::encode(zero, &field.ty, self.out),
                }
                continue;
            }
            let Some(at) = at else { break };
            let group = next;
            while next < end && self.parts[next].at == at {
                next += 1;
            }
            let field = &of.flat()[at];
            if is_null(field, self.parts[next - 1].content)? {
                continue;
            }
            printed.next_if(|(absent, _)| *absent == at);
            let level = match level {
                Level::Object(version) if field.name == "metadata" => Level::Metadata(version),
                _ => Level::Below,
            };
            self.field(field, group..next, level, depth, &mut first)?;
        }
        self.out.push(b'}');
        self.parts.truncate(base);
        Ok(())
    }

    /// The fields of a message, those of inlined structs in their place.
    fn collect(&mut self, message: &'a [u8], of: &Struct, offset: usize) -> Result<(), DecodeError> {
        let mut reader = Reader::new(message);
        while let Some((number, content)) = reader.next()? {
            let Some((field, at)) = of.numbered_at(number) else { continue };
            match &field.ty {
                Type::Struct(inner) if field.inline.is_some() => {
                    self.collect(bytes_of(field, content)?, inner, offset + at)?;
                }
                _ => self.parts.push(Part { at: offset + at, content: Piece::Wire(content) }),
            }
        }
        Ok(())
    }

    fn key(&mut self, name: &str, first: &mut bool) {
        self.out.extend_from_slice(if std::mem::take(first) { b"\"" } else { b",\"" });
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// Prints what one field holds, unless it is left out.
    fn field(
        &mut self,
        field: &Field,
        group: std::ops::Range<usize>,
        level: Level<'a>,
        depth: usize,
        first: &mut bool,
    ) -> Result<(), DecodeError> {
        let content = match self.parts[group.end - 1].content {
            Piece::Text(text) if text.is_empty() && field.omit_empty => return Ok(()),
            Piece::Text(text) => {
                self.key(&field.name, first);
                json::print_string(text, self.out);
                return Ok(());
            }
            Piece::Wire(content) => content,
        };
        match &field.ty {
            Type::List(list) if !list.wrapped => {
                self.key(&field.name, first);
                let start = group.start;
                self.out.push(b'[');
                for at in group {
                    if at > start {
                        self.out.push(b',');
                    }
                    if let Piece::Wire(content) = self.parts[at].content {
                        self.value(field, &list.item, content, Level::Below, depth)?;
                    }
                }
                self.out.push(b']');
                Ok(())
            }
            Type::Map(map) => {
                self.key(&field.name, first);
                self.map(field, map, group, depth)
            }
            Type::Scalar(_) if field.omit_empty && !field.pointer && is_zero(content) => Ok(()),
            ty => {
                self.key(&field.name, first);
                self.value(field, ty, content, level, depth)
            }
        }
    }

    fn map(
        &mut self,
        field: &Field,
        map: &Map,
        group: std::ops::Range<usize>,
        depth: usize,
    ) -> Result<(), DecodeError> {
        self.out.push(b'{');
        let mut first = true;
        for at in group {
            let Piece::Wire(content) = self.parts[at].content else { continue };
            let (mut key, mut entry) = (&[][..], None);
            let mut reader = Reader::new(bytes_of(field, content)?);
            while let Some((number, content)) = reader.next()? {
                match (number, content) {
                    (1, Content::Bytes(bytes)) => key = bytes,
                    (2, content) => entry = Some(content),
                    _ => {}
                }
            }
            if !std::mem::take(&mut first) {
                self.out.push(b',');
            }
            json::print_string(text(key)?, self.out);
            self.out.push(b':');
            match entry {
                Some(content) => self.value(field, &map.value, content, Level::Below, depth)?,
                None => return Err(DecodeError::Malformed("map entry without value")),
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    fn value(
        &mut self,
        field: &Field,
        ty: &Type,
        content: Content<'a>,
        level: Level<'a>,
        depth: usize,
    ) -> Result<(), DecodeError> {
        match (ty, content) {
            (Type::Scalar(Scalar::String), Content::Bytes(bytes)) => json::print_string(text(bytes)?, self.out),
            (Type::Scalar(Scalar::Bytes), Content::Bytes(bytes)) => {
                self.quoted(&base64::engine::general_purpose::STANDARD.encode(bytes));
            }
            (Type::Scalar(Scalar::Bool), Content::Varint(n)) => {
                self.out.extend_from_slice(if n == 0 { b"false" } else { b"true" });
            }
            (Type::Scalar(Scalar::Int32), Content::Varint(n)) => self.int((n as i32).into()),
            (Type::Scalar(Scalar::Int64), Content::Varint(n)) => self.int(n as i64),
            (Type::Struct(of), Content::Bytes(message)) if of.typed && of.form == JsonForm::Object => {
                let base = self.parts.len();
                self.structure(message, of, base, level, depth + 1)?;
            }
            (Type::Scalar(scalar), Content::Bytes(message)) => self.scalar_message(message, *scalar)?,
            (Type::Any, Content::Bytes(message)) => self.embedded(field, message, depth)?,
            _ => self.by_value(field, ty, content, depth)?,
        }
        Ok(())
    }

    /// What is rare takes the long way.
    fn by_value(&mut self, field: &Field, ty: &Type, content: Content<'a>, depth: usize) -> Result<(), DecodeError> {
        let mut value = decode::value(field, ty, content, depth)?;
        normalize(&mut value, ty);
        json::encode(&value, ty, self.out);
        Ok(())
    }

    fn embedded(&mut self, field: &Field, message: &'a [u8], depth: usize) -> Result<(), DecodeError> {
        match find(message, 1)? {
            Some(raw) if !raw.content.starts_with(MAGIC) => self.out.extend_from_slice(raw.content),
            _ => self.by_value(field, &Type::Any, Content::Bytes(message), depth)?,
        }
        Ok(())
    }

    /// Scalars that are messages in protobuf.
    fn scalar_message(&mut self, message: &'a [u8], scalar: Scalar) -> Result<(), DecodeError> {
        let read = ScalarMessage::read(message)?;
        match scalar {
            Scalar::Time | Scalar::MicroTime if message.is_empty() => self.out.extend_from_slice(b"null"),
            Scalar::Time | Scalar::MicroTime => self.quoted(&read.time(scalar)?),
            Scalar::Duration => self.quoted(&duration::format(read.first)),
            Scalar::Quantity => json::print_string(text(read.quantity)?, self.out),
            Scalar::IntOrString if read.first == 0 => self.int((read.second as i32).into()),
            Scalar::IntOrString => json::print_string(text(read.text)?, self.out),
            _ => return Err(DecodeError::Malformed("scalar as message")),
        }
        Ok(())
    }

    /// Text without anything to escape.
    fn quoted(&mut self, text: &str) {
        self.out.push(b'"');
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(b'"');
    }

    fn int(&mut self, n: i64) {
        // Writing to a buffer in memory does not fail.
        let _written = write!(self.out, "{n}");
    }
}

/// Unset times, absent free JSON and empty lists in a message of their own count as absent.
fn is_null(field: &Field, piece: Piece<'_>) -> Result<bool, DecodeError> {
    let Piece::Wire(Content::Bytes(message)) = piece else { return Ok(false) };
    Ok(match &field.ty {
        Type::Scalar(Scalar::Time | Scalar::MicroTime) => message.is_empty(),
        Type::List(list) if list.wrapped => message.is_empty() && !field.pointer,
        Type::Any => find(message, 1)?.is_none_or(|raw| raw.content.is_empty() || raw.content == b"null"),
        _ => false,
    })
}

fn is_zero(content: Content<'_>) -> bool {
    match content {
        Content::Varint(n) => n == 0,
        Content::Fixed64(bits) => f64::from_bits(bits) == 0.0,
        Content::Bytes(bytes) => bytes.is_empty(),
    }
}

fn text(bytes: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|_| DecodeError::Malformed("text is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::protobuf::encode_message;

    const IDENTITY: Identity<'_> = Identity { api_version: "v1", kind: "Pod", resource_version: "1234" };

    fn pod() -> (Value, Type) {
        let schema = crate::schema::lookup("", "v1", "Pod").expect("Pod");
        let mut pod = json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {
                "name": "p", "namespace": "n", "labels": {"a": "<b>", "c": ""}, "creationTimestamp": "2026-01-02T03:04:05Z", "generation": 2,
                "managedFields": [{"manager": "m", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:x": {}}}}],
            },
            "spec": {
                "containers": [
                    {"name": "a", "resources": {"limits": {"cpu": "100m", "memory": "1Gi"}}, "livenessProbe": {"httpGet": {"path": "/", "port": "web"}}},
                    {"name": "b", "resources": {}, "ports": [{"containerPort": 80}], "livenessProbe": {"httpGet": {"port": 80}}},
                ],
                "volumes": [{"name": "v", "emptyDir": {}}], "terminationGracePeriodSeconds": 0, "hostNetwork": true,
            },
            "status": {"startTime": "2026-01-02T03:04:05Z", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": null}]},
        });
        normalize(&mut pod, &schema);
        (pod, schema)
    }

    fn with_version(mut object: Value) -> Value {
        object["metadata"]["resourceVersion"] = IDENTITY.resource_version.into();
        object
    }

    #[test]
    fn prints_what_decoding_and_encoding_print() {
        let (pod, schema) = pod();
        let Type::Struct(of) = &schema else { panic!("no struct") };
        for object in [
            pod,
            json!({"kind": "Pod", "apiVersion": "v1", "metadata": {}, "spec": {"containers": null}, "status": {}}),
        ] {
            let message = encode_message(&object, &schema);
            let mut printed = Vec::new();
            print_object(&message, of, IDENTITY, &mut printed).expect("prints");
            let expected = json::to_vec(&with_version(object.clone()), &schema);
            assert_eq!(String::from_utf8_lossy(&printed), String::from_utf8_lossy(&expected));
            let moved = with_resource_version(&message, of, IDENTITY.resource_version).expect("has metadata");
            assert_eq!(moved, encode_message(&with_version(object), &schema));
        }
    }

    #[test]
    fn torn_and_foreign_bytes_are_errors() {
        let (pod, schema) = pod();
        let Type::Struct(of) = &schema else { panic!("no struct") };
        let message = encode_message(&pod, &schema);
        for length in 1..message.len() {
            let mut out = Vec::new();
            let cut = &message[..length];
            let whole = Reader::new(cut);
            // A cut between two fields of the object is a message of its own.
            if fields(whole).is_some() {
                continue;
            }
            assert!(print_object(cut, of, IDENTITY, &mut out).is_err(), "cut at {length}");
        }
        assert!(with_resource_version(b"", of, "1").is_err());
    }

    fn fields(mut reader: Reader<'_>) -> Option<usize> {
        let mut count = 0;
        while let Some(_field) = reader.next().ok()? {
            count += 1;
        }
        Some(count)
    }
}
