//! Schemas as OpenAPI components.

use std::collections::BTreeMap;

use api_types::schema::{Field, JsonForm, ListKind, Scalar, Struct, Type, Union};
use serde_json::{Map, Value, json};

use super::{GroupVersionKind, Shape, Version, component_name, custom};

/// The components of one document, collected from what its operations refer to.
pub(super) struct Components {
    version: Version,
    schemas: BTreeMap<String, Value>,
}

impl Components {
    pub(super) fn new(version: Version) -> Self {
        Components { version, schemas: BTreeMap::new() }
    }

    pub(super) fn finish(self) -> BTreeMap<String, Value> {
        self.schemas
    }

    /// A reference to the kind's component, which is added with all that it refers to.
    pub(super) fn kind(&mut self, kind: &GroupVersionKind, shape: &Shape) -> Value {
        let name = component_name(kind, Some(shape));
        match shape {
            Shape::Table(Type::Struct(of)) => self.add(&name, of),
            Shape::Custom(source) if !self.schemas.contains_key(&name) => {
                let component = custom::component(source, self.version, self);
                self.schemas.insert(name.clone(), component);
            }
            _ => _ = self.schemas.entry(name.clone()).or_insert_with(|| json!({"type": "object"})),
        }
        self.mark(&name, kind);
        self.version.reference(&name)
    }

    /// A reference to a list of `item`, for kinds without a list type of their own.
    pub(super) fn list_of(&mut self, kind: &GroupVersionKind, item: &Shape) -> Value {
        let list = GroupVersionKind { kind: format!("{}List", kind.kind), ..kind.clone() };
        let name = component_name(&list, None);
        let item = self.kind(kind, item);
        let metadata = self.meta("ListMeta", &[]);
        let list_schema = json!({
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": metadata,
                "items": {"type": "array", "items": item},
            },
        });
        self.schemas.insert(name.clone(), list_schema);
        self.mark(&name, &list);
        self.version.reference(&name)
    }

    /// Says of a component which kind it is; some (`DeleteOptions`) are several.
    fn mark(&mut self, name: &str, kind: &GroupVersionKind) {
        let Some(Value::Object(component)) = self.schemas.get_mut(name) else { return };
        let kinds = component.entry("x-kubernetes-group-version-kind").or_insert_with(|| json!([]));
        let extension = kind.extension();
        if let Value::Array(list) = kinds
            && !list.contains(&extension)
        {
            list.push(extension);
        }
    }

    fn add(&mut self, name: &str, of: &Struct) {
        if self.schemas.contains_key(name) {
            return;
        }
        // Before the fields, which may refer back to it.
        self.schemas.insert(name.to_owned(), Value::Null);
        let schema = self.object(of);
        self.schemas.insert(name.to_owned(), schema);
        // A kind inside of another one is a kind too.
        let is_kind = of.fields.iter().any(|f| f.number == 0 && f.name == "kind");
        if let Some((group, version)) = is_kind.then(|| group_of(&of.package)).flatten() {
            self.mark(name, &GroupVersionKind { group, version, kind: of.name.to_string() });
        }
    }

    fn object(&mut self, of: &Struct) -> Value {
        if of.form != JsonForm::Object {
            // A schema, or something simpler in its place: no type says that.
            return json!({});
        }
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in of.flat() {
            properties.insert(field.name.to_string(), self.field(of, field));
            if field.required {
                required.push(field.name.to_string());
            }
        }
        let mut schema = Map::from_iter([("type".to_owned(), json!("object"))]);
        if !properties.is_empty() {
            schema.insert("properties".to_owned(), Value::Object(properties));
        }
        if !required.is_empty() {
            schema.insert("required".to_owned(), json!(required));
        }
        if of.atomic {
            schema.insert("x-kubernetes-map-type".to_owned(), json!("atomic"));
        }
        if of.open {
            schema.insert("x-kubernetes-preserve-unknown-fields".to_owned(), json!(true));
        }
        if !of.unions.is_empty() {
            schema.insert("x-kubernetes-unions".to_owned(), of.unions.iter().map(union).collect());
        }
        Value::Object(schema)
    }

    fn field(&mut self, of: &Struct, field: &Field) -> Value {
        let mut schema = self.of(&field.ty, field.free.as_deref());
        let Value::Object(map) = &mut schema else { return schema };
        if map.contains_key("$ref") && self.version == Version::V3 {
            // Extensions beside a reference are ignored by readers of version 3.
            let reference = Value::Object(std::mem::take(map));
            map.insert("allOf".to_owned(), json!([reference]));
        }
        if let Some(default) = default_of(of, field).filter(|_| self.version == Version::V3) {
            map.insert("default".to_owned(), default);
        }
        if field.granular {
            map.insert("x-kubernetes-map-type".to_owned(), json!("granular"));
        }
        if field.name == "items" && of.typed && of.name.ends_with("List") {
            map.remove("x-kubernetes-list-type");
        }
        if let Some(patch) = &field.patch {
            let strategies = [("merge", patch.merge), ("replace", patch.replace), ("retainKeys", patch.retain_keys)];
            let on: Vec<&str> = strategies.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
            map.insert("x-kubernetes-patch-strategy".to_owned(), json!(on.join(",")));
            if let Some(key) = &patch.merge_key {
                map.insert("x-kubernetes-patch-merge-key".to_owned(), json!(key));
            }
        }
        schema
    }

    /// `free` is the name of the type of free JSON, where it has one.
    fn of(&mut self, ty: &Type, free: Option<&str>) -> Value {
        match ty {
            Type::Scalar(scalar) => self.scalar(*scalar),
            Type::Any => self.free(free),
            Type::List(list) => {
                let mut schema = json!({"type": "array", "items": self.of(&list.item, free)});
                match &list.kind {
                    // A list with a message of its own says nothing of how it merges.
                    ListKind::Atomic if list.wrapped => {}
                    ListKind::Atomic => schema["x-kubernetes-list-type"] = json!("atomic"),
                    ListKind::Set => schema["x-kubernetes-list-type"] = json!("set"),
                    ListKind::Map(keys) => {
                        schema["x-kubernetes-list-type"] = json!("map");
                        schema["x-kubernetes-list-map-keys"] = json!(keys);
                    }
                }
                schema
            }
            Type::Map(map) => {
                let mut schema = json!({"type": "object", "additionalProperties": self.of(&map.value, free)});
                if map.atomic {
                    schema["x-kubernetes-map-type"] = json!("atomic");
                }
                schema
            }
            Type::Struct(of) if of.name.is_empty() => self.object(of),
            Type::Struct(of) => {
                let name = struct_name(&of.package, &of.name);
                self.add(&name, of);
                self.version.reference(&name)
            }
        }
    }

    fn free(&mut self, name: Option<&str>) -> Value {
        let (name, schema) = match name {
            Some("RawExtension") => ("io.k8s.apimachinery.pkg.runtime.RawExtension", json!({"type": "object"})),
            Some("FieldsV1") => ("io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", json!({"type": "object"})),
            Some("JSON") => ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON", json!({})),
            _ => return json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        };
        self.plain(name, schema)
    }

    /// A reference to a component that is no message of the schema table.
    pub(super) fn plain(&mut self, name: &str, schema: Value) -> Value {
        self.schemas.entry(name.to_owned()).or_insert(schema);
        self.version.reference(name)
    }

    /// A reference to a message of `meta/v1`; `kinds` are those that it is marked as.
    pub(super) fn meta(&mut self, message: &str, kinds: &[GroupVersionKind]) -> Value {
        let Some(of) = api_types::schema::message("meta/v1", message) else { return json!({"type": "object"}) };
        let name = struct_name(&of.package, &of.name);
        self.add(&name, &of);
        kinds.iter().for_each(|kind| self.mark(&name, kind));
        self.version.reference(&name)
    }

    fn scalar(&mut self, scalar: Scalar) -> Value {
        let named = |name: &str, schema: Value| (format!("io.k8s.apimachinery.pkg.{name}"), schema);
        let (name, schema) = match scalar {
            Scalar::String => return json!({"type": "string"}),
            Scalar::Bool => return json!({"type": "boolean"}),
            Scalar::Int32 => return json!({"type": "integer", "format": "int32"}),
            Scalar::Int64 => return json!({"type": "integer", "format": "int64"}),
            Scalar::Double => return json!({"type": "number", "format": "double"}),
            Scalar::Bytes => return json!({"type": "string", "format": "byte"}),
            Scalar::Time => named("apis.meta.v1.Time", json!({"type": "string", "format": "date-time"})),
            Scalar::MicroTime => named("apis.meta.v1.MicroTime", json!({"type": "string", "format": "date-time"})),
            Scalar::Duration => named("apis.meta.v1.Duration", json!({"type": "string"})),
            Scalar::Quantity => named("api.resource.Quantity", self.either("string", "number", None)),
            Scalar::IntOrString => {
                named("util.intstr.IntOrString", self.either("integer", "string", Some("int-or-string")))
            }
        };
        self.schemas.entry(name.clone()).or_insert(schema);
        self.version.reference(&name)
    }

    /// A value of one of two types; version 2 can only say "string".
    fn either(&self, one: &str, other: &str, format: Option<&str>) -> Value {
        let mut schema = match self.version {
            Version::V2 => json!({"type": "string"}),
            Version::V3 => json!({"oneOf": [{"type": one}, {"type": other}]}),
        };
        if let Some(format) = format {
            schema["format"] = json!(format);
        }
        schema
    }
}

fn union(of: &Union) -> Value {
    // The key is the JSON name, the value the Go name.
    let fields: Map<String, Value> =
        of.fields.iter().map(|name| (name.to_string(), json!(super::paths::camel(name)))).collect();
    let mut union = json!({ "fields-to-discriminateBy": fields });
    if let Some(discriminator) = &of.discriminator {
        union["discriminator"] = json!(discriminator);
    }
    union
}

/// The declared default, or the zero value of a field that is always written.
fn default_of(of: &Struct, field: &Field) -> Option<Value> {
    if field.default.is_some() || !of.typed || field.pointer {
        return field.default.clone();
    }
    match &field.ty {
        Type::Struct(of) if of.form == JsonForm::Object => Some(json!({})),
        Type::Scalar(_) if field.omit_empty => None,
        Type::Scalar(Scalar::String) => Some(json!("")),
        Type::Scalar(Scalar::Bool) => Some(json!(false)),
        Type::Scalar(Scalar::Int32 | Scalar::Int64) => Some(json!(0)),
        _ => None,
    }
}

/// The API group and version of a package that has resources.
fn group_of(package: &str) -> Option<(String, String)> {
    let (_, version) = package.split_once('/')?;
    if package == "meta/v1" {
        return Some((String::new(), version.to_owned()));
    }
    let of = api_types::resources::all().iter().find(|r| {
        r.version == version && format!("{}/{version}", api_types::schema::package_of_group(r.group)) == package
    })?;
    Some((of.group.to_owned(), version.to_owned()))
}

/// `core/v1`, `PodSpec` → `io.k8s.api.core.v1.PodSpec`.
pub(super) fn struct_name(package: &str, name: &str) -> String {
    let (group, version) = package.split_once('/').unwrap_or((package, ""));
    let prefix = match group {
        "meta" => "io.k8s.apimachinery.pkg.apis.meta".to_owned(),
        "apiextensions" => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions".to_owned(),
        "apiregistration" => "io.k8s.kube-aggregator.pkg.apis.apiregistration".to_owned(),
        _ => format!("io.k8s.api.{group}"),
    };
    format!("{prefix}.{version}.{name}")
}
