//! Printing values as Go's `encoding/json` prints upstream's types.

use serde_json::Value;

use crate::schema::{Field, JsonForm, Scalar, Struct, Type, is_omitted, zero};

/// Prints a value. Typed structs: fields in schema order, `omitempty` and zero values as in Go. Everything else: sorted
/// keys. Fields that the schema does not know are not printed in typed structs.
pub fn encode(value: &Value, schema: &Type, out: &mut Vec<u8>) {
    Printer { out, indent: None }.typed(value, schema, 0);
}

/// [`encode`] with an indent of two spaces, as `?pretty=true` prints.
pub fn encode_pretty(value: &Value, schema: &Type, out: &mut Vec<u8>) {
    Printer { out, indent: Some("  ") }.typed(value, schema, 0);
}

/// [`encode`] into a new buffer.
pub fn to_vec(value: &Value, schema: &Type) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    encode(value, schema, &mut out);
    out
}

/// Prints a value without schema: sorted keys (custom resources).
pub fn encode_value(value: &Value, out: &mut Vec<u8>) {
    Printer { out, indent: None }.free(value, 0);
}

/// Indents compact JSON text by two spaces; the text must be valid.
pub fn pretty(compact: &[u8], out: &mut Vec<u8>) {
    let mut depth = 0usize;
    let mut bytes = compact.iter().copied().peekable();
    let newline = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', depth * 2));
    };
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                out.push(byte);
                if matches!(bytes.peek(), Some(b'}' | b']')) {
                    out.extend(bytes.next());
                } else {
                    depth += 1;
                    newline(out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                newline(out, depth);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                newline(out, depth);
            }
            b':' => out.extend(b": "),
            b'"' => {
                out.push(byte);
                let mut escaped = false;
                for inner in bytes.by_ref() {
                    out.push(inner);
                    match inner {
                        _ if escaped => escaped = false,
                        b'\\' => escaped = true,
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            _ => out.push(byte),
        }
    }
}

/// A list whose items are encoded already. `metadata` is a `ListMeta` value; `typed` lists print as Go types do, others
/// (custom resources) with sorted keys.
pub fn encode_list<'a>(
    api_version: &str,
    kind: &str,
    metadata: &Value,
    items: impl IntoIterator<Item = &'a [u8]>,
    typed: bool,
    out: &mut Vec<u8>,
) {
    let mut printer = Printer { out, indent: None };
    let list_meta = crate::schema::message("meta/v1", "ListMeta").map_or(Type::Any, Type::Struct);
    printer.out.push(b'{');
    if typed {
        printer.member("kind", kind);
        printer.out.push(b',');
        printer.member("apiVersion", api_version);
        printer.out.extend(b",\"metadata\":");
        printer.typed(metadata, &list_meta, 1);
        printer.out.extend(b",\"items\":");
        printer.spliced(items);
    } else {
        printer.member("apiVersion", api_version);
        printer.out.extend(b",\"items\":");
        printer.spliced(items);
        printer.out.push(b',');
        printer.member("kind", kind);
        printer.out.extend(b",\"metadata\":");
        printer.typed(metadata, &list_meta, 1);
    }
    printer.out.push(b'}');
}

/// A watch event around an encoded object, without the newline that separates events.
pub fn encode_watch_event(event_type: &str, object: &[u8], out: &mut Vec<u8>) {
    let mut printer = Printer { out, indent: None };
    printer.out.push(b'{');
    printer.member("type", event_type);
    printer.out.extend(b",\"object\":");
    printer.out.extend_from_slice(object);
    printer.out.push(b'}');
}

/// Most structs have at most so many fields.
const SLOTS: usize = 48;

struct Printer<'o> {
    out: &'o mut Vec<u8>,
    indent: Option<&'static str>,
}

impl Printer<'_> {
    fn member(&mut self, name: &str, text: &str) {
        self.string(name);
        self.out.push(b':');
        self.string(text);
    }

    fn spliced<'a>(&mut self, items: impl IntoIterator<Item = &'a [u8]>) {
        self.out.push(b'[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            self.out.extend_from_slice(item);
        }
        self.out.push(b']');
    }

    fn typed(&mut self, value: &Value, schema: &Type, depth: usize) {
        match (schema, value) {
            (Type::Struct(of), _) if of.typed => self.typed_struct(value, of, depth),
            (Type::List(list), Value::Array(items)) => self.sequence(items, depth, |p, item, depth| {
                p.item(item, &list.item, depth);
            }),
            (Type::Map(map), Value::Object(entries)) => {
                let mut object = self.begin_object();
                for (key, entry) in entries {
                    object = self.key(object, key, depth);
                    self.item(entry, &map.value, depth + 1);
                }
                self.end_object(object, depth);
            }
            (Type::Scalar(Scalar::Double), Value::Number(n)) => {
                let text = go_double(n.as_f64().unwrap_or_default());
                self.out.extend(text.as_bytes());
            }
            _ => self.free(value, depth),
        }
    }

    fn item(&mut self, value: &Value, ty: &Type, depth: usize) {
        if value.is_null() {
            self.typed(&zero(ty), ty, depth);
        } else {
            self.typed(value, ty, depth);
        }
    }

    fn typed_struct(&mut self, value: &Value, of: &Struct, depth: usize) {
        match (value, of.form) {
            (Value::Object(object), JsonForm::Object) => {
                let state = self.begin_object();
                let state = self.fields(object, of, state, depth);
                self.end_object(state, depth);
            }
            (Value::Null, JsonForm::Object) => self.typed_struct(&zero_object(), of, depth),
            (Value::Object(_), _) => match alternative(of) {
                Some(schema) => self.typed(value, schema, depth),
                None => self.free(value, depth),
            },
            (Value::Array(items), JsonForm::SchemaOrArray) => {
                let schema = alternative(of).unwrap_or(&Type::Any);
                self.sequence(items, depth, |p, item, depth| p.typed(item, schema, depth));
            }
            _ => self.free(value, depth),
        }
    }

    fn fields(
        &mut self,
        object: &serde_json::Map<String, Value>,
        of: &Struct,
        mut state: ObjectState,
        depth: usize,
    ) -> ObjectState {
        // What is there, in the order of the fields; what is printed all the same comes between.
        let mut slots = [None; SLOTS];
        let mut many;
        let flat = of.flat();
        let values = match slots.get_mut(..flat.len()) {
            Some(values) => values,
            None => {
                many = vec![None; flat.len()];
                &mut many[..]
            }
        };
        for (name, value) in object.iter().filter(|(_, value)| !value.is_null()) {
            if let Some(at) = of.position(name) {
                values[at] = Some(value);
            }
        }
        let mut printed = of.printed().map(|(at, _)| at).peekable();
        for (at, value) in values.iter().enumerate() {
            let is_printed = printed.next_if_eq(&at).is_some();
            if value.is_some() || is_printed {
                state = self.field(&flat[at], *value, state, depth);
            }
        }
        state
    }

    fn field(&mut self, field: &Field, value: Option<&Value>, state: ObjectState, depth: usize) -> ObjectState {
        match value {
            Some(value) if is_omitted(field, value) => state,
            Some(value) => {
                let state = self.key(state, &field.name, depth);
                self.typed(value, &field.ty, depth + 1);
                state
            }
            None if field.pointer && field.omit_empty => state,
            None if field.pointer => {
                let state = self.key(state, &field.name, depth);
                self.out.extend(b"null");
                state
            }
            None => {
                let zero = zero(&field.ty);
                if is_omitted(field, &zero) {
                    return state;
                }
                let state = self.key(state, &field.name, depth);
                self.typed(&zero, &field.ty, depth + 1);
                state
            }
        }
    }

    fn free(&mut self, value: &Value, depth: usize) {
        match value {
            Value::Null => self.out.extend(b"null"),
            Value::Bool(b) => self.out.extend(if *b { &b"true"[..] } else { b"false" }),
            Value::Number(n) => match n.as_i64() {
                Some(n) => self.out.extend(n.to_string().as_bytes()),
                None => self.out.extend(go_double(n.as_f64().unwrap_or_default()).as_bytes()),
            },
            Value::String(text) => self.string(text),
            Value::Array(items) => self.sequence(items, depth, Self::free),
            Value::Object(entries) => {
                let mut object = self.begin_object();
                for (key, entry) in entries {
                    object = self.key(object, key, depth);
                    self.free(entry, depth + 1);
                }
                self.end_object(object, depth);
            }
        }
    }

    fn sequence(&mut self, items: &[Value], depth: usize, print: impl Fn(&mut Self, &Value, usize)) {
        self.out.push(b'[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            self.newline(depth + 1);
            print(self, item, depth + 1);
        }
        if !items.is_empty() {
            self.newline(depth);
        }
        self.out.push(b']');
    }

    fn begin_object(&mut self) -> ObjectState {
        self.out.push(b'{');
        ObjectState { empty: true }
    }

    fn key(&mut self, state: ObjectState, name: &str, depth: usize) -> ObjectState {
        if !state.empty {
            self.out.push(b',');
        }
        self.newline(depth + 1);
        self.string(name);
        self.out.push(b':');
        if self.indent.is_some() {
            self.out.push(b' ');
        }
        ObjectState { empty: false }
    }

    fn end_object(&mut self, state: ObjectState, depth: usize) {
        if !state.empty {
            self.newline(depth);
        }
        self.out.push(b'}');
    }

    fn newline(&mut self, depth: usize) {
        if let Some(indent) = self.indent {
            self.out.push(b'\n');
            for _ in 0..depth {
                self.out.extend(indent.as_bytes());
            }
        }
    }

    fn string(&mut self, text: &str) {
        print_string(text, self.out);
    }
}

/// A string as Go escapes it: `<`, `>`, `&`, U+2028 and U+2029 too.
pub(crate) fn print_string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    out.push(b'"');
    let mut plain = 0;
    for (at, byte) in bytes.iter().copied().enumerate().filter(|(_, byte)| SPECIAL[usize::from(*byte)]) {
        let mut length = 1;
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0x8 => b"\\b",
            0xc => b"\\f",
            LINE_SEPARATORS => {
                length = 3;
                match bytes.get(at + 1..at + 3) {
                    Some([0x80, 0xa8]) => b"\\u2028",
                    Some([0x80, 0xa9]) => b"\\u2029",
                    _ => continue,
                }
            }
            _ => &[b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]],
        };
        out.extend_from_slice(&bytes[plain..at]);
        out.extend_from_slice(escape);
        plain = at + length;
    }
    out.extend_from_slice(&bytes[plain..]);
    out.push(b'"');
}

/// The first byte of U+2028 and U+2029 in UTF-8.
const LINE_SEPARATORS: u8 = 0xe2;

/// The bytes at which an escape may begin.
const SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        special[byte] = true;
        byte += 1;
    }
    special[b'"' as usize] = true;
    special[b'\\' as usize] = true;
    special[b'<' as usize] = true;
    special[b'>' as usize] = true;
    special[b'&' as usize] = true;
    special[LINE_SEPARATORS as usize] = true;
    special
};

struct ObjectState {
    empty: bool,
}

fn zero_object() -> Value {
    Value::Object(serde_json::Map::new())
}

/// The schema alternative of a custom JSON form.
fn alternative(of: &Struct) -> Option<&Type> {
    of.fields.iter().map(|f| &f.ty).find(|t| matches!(t, Type::Struct(_)))
}

/// A double as Go prints it: shortest digits; exponent form below 1e-6 and from 1e21.
pub(crate) fn go_double(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = format!("{value:e}");
        return match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => {
                format!("{digits}e+{exponent:0>2}")
            }
            // Go's JSON drops the padding zero of small negative exponents only (e-09 becomes e-9).
            _ => text,
        };
    }
    format!("{value}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::lookup;

    fn pod() -> Type {
        lookup("", "v1", "Pod").expect("Pod")
    }

    #[test]
    fn zero_values_and_order_are_those_of_go() {
        let value = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"hostNetwork": false, "containers": [{"name": "a"}]},
            "metadata": {"name": "x", "labels": {}}});
        let text = String::from_utf8(to_vec(&value, &pod())).expect("UTF-8");
        assert_eq!(
            text,
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x"},"spec":{"containers":[{"name":"a","resources":{}}]},"status":{}}"#
        );
    }

    #[test]
    fn escapes_as_go() {
        let mut out = Vec::new();
        encode_value(&json!({"b<": "a\u{1}\u{2028}\"&", "a": 1.0, "c": 1e30}), &mut out);
        assert_eq!(String::from_utf8(out).expect("UTF-8"), r#"{"a":1,"b\u003c":"a\u0001\u2028\"\u0026","c":1e+30}"#);
    }

    #[test]
    fn pretty_indents_compact_text() {
        let mut out = Vec::new();
        pretty(br#"{"a":[],"b":{"c":"x,{\"y"},"d":[1,2]}"#, &mut out);
        let text = String::from_utf8(out).expect("UTF-8");
        assert_eq!(
            text,
            "{\n  \"a\": [],\n  \"b\": {\n    \"c\": \"x,{\\\"y\"\n  },\n  \"d\": [\n    1,\n    2\n  ]\n}"
        );
    }
}
