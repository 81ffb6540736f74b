//! Reads the schema tables (`tables/<package>.<version>.txt`).
//!
//! A struct is a line `Name [kind] [atomic] [union=DISCRIMINATOR:FIELD,FIELD]` (`kind`: carries `kind` and `apiVersion`; `atomic`: one
//! manager owns it as a whole; `union`: fields that exclude each other), then one line a field in JSON order: `NUMBER NAME[?] TYPE [marker ...]`. `?` means omitted when empty. TYPE is
//! `[]T` list, `{}T` map, `*T` pointer, or T: a scalar, a struct of the same file, or `package/version.Struct`.
//! Markers: `list=atomic|set|map:KEY,KEY`, `patch=STRATEGY[:MERGEKEY]`, `atomic`/`granular` (map or struct here),
//! `inline=GoField`, `zero` (omitzero), `required`/`optional` (where it does not follow from `?`),
//! `default=`, and Go type names for
//! error texts: `go=`, `named=` (the list or map), `key=` (map keys).
//!
//! The tables are part of the program: a line that cannot be read is a bug, and panics on first use.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::{Field, JsonForm, List, ListKind, Map, Name, Patch, Scalar, Struct, StructRef, Target, Type, Union};

const SOURCES: &[(&str, &str)] = &[
    ("admission/v1", include_str!("tables/admission.v1.txt")),
    ("admission/v1beta1", include_str!("tables/admission.v1beta1.txt")),
    ("admissionregistration/v1", include_str!("tables/admissionregistration.v1.txt")),
    ("admissionregistration/v1alpha1", include_str!("tables/admissionregistration.v1alpha1.txt")),
    ("admissionregistration/v1beta1", include_str!("tables/admissionregistration.v1beta1.txt")),
    ("apidiscovery/v2", include_str!("tables/apidiscovery.v2.txt")),
    ("apidiscovery/v2beta1", include_str!("tables/apidiscovery.v2beta1.txt")),
    ("apiextensions/v1", include_str!("tables/apiextensions.v1.txt")),
    ("apiextensions/v1beta1", include_str!("tables/apiextensions.v1beta1.txt")),
    ("apiregistration/v1", include_str!("tables/apiregistration.v1.txt")),
    ("apiregistration/v1beta1", include_str!("tables/apiregistration.v1beta1.txt")),
    ("apiserverinternal/v1alpha1", include_str!("tables/apiserverinternal.v1alpha1.txt")),
    ("apps/v1", include_str!("tables/apps.v1.txt")),
    ("apps/v1beta1", include_str!("tables/apps.v1beta1.txt")),
    ("apps/v1beta2", include_str!("tables/apps.v1beta2.txt")),
    ("authentication/v1", include_str!("tables/authentication.v1.txt")),
    ("authentication/v1alpha1", include_str!("tables/authentication.v1alpha1.txt")),
    ("authentication/v1beta1", include_str!("tables/authentication.v1beta1.txt")),
    ("authorization/v1", include_str!("tables/authorization.v1.txt")),
    ("authorization/v1beta1", include_str!("tables/authorization.v1beta1.txt")),
    ("autoscaling/v1", include_str!("tables/autoscaling.v1.txt")),
    ("autoscaling/v2", include_str!("tables/autoscaling.v2.txt")),
    ("batch/v1", include_str!("tables/batch.v1.txt")),
    ("batch/v1beta1", include_str!("tables/batch.v1beta1.txt")),
    ("certificates/v1", include_str!("tables/certificates.v1.txt")),
    ("certificates/v1alpha1", include_str!("tables/certificates.v1alpha1.txt")),
    ("certificates/v1beta1", include_str!("tables/certificates.v1beta1.txt")),
    ("coordination/v1", include_str!("tables/coordination.v1.txt")),
    ("coordination/v1alpha2", include_str!("tables/coordination.v1alpha2.txt")),
    ("coordination/v1beta1", include_str!("tables/coordination.v1beta1.txt")),
    ("core/v1", include_str!("tables/core.v1.txt")),
    ("discovery/v1", include_str!("tables/discovery.v1.txt")),
    ("discovery/v1beta1", include_str!("tables/discovery.v1beta1.txt")),
    ("events/v1", include_str!("tables/events.v1.txt")),
    ("events/v1beta1", include_str!("tables/events.v1beta1.txt")),
    ("extensions/v1beta1", include_str!("tables/extensions.v1beta1.txt")),
    ("flowcontrol/v1", include_str!("tables/flowcontrol.v1.txt")),
    ("flowcontrol/v1beta1", include_str!("tables/flowcontrol.v1beta1.txt")),
    ("flowcontrol/v1beta2", include_str!("tables/flowcontrol.v1beta2.txt")),
    ("flowcontrol/v1beta3", include_str!("tables/flowcontrol.v1beta3.txt")),
    ("imagepolicy/v1alpha1", include_str!("tables/imagepolicy.v1alpha1.txt")),
    ("meta/v1", include_str!("tables/meta.v1.txt")),
    ("meta/v1beta1", include_str!("tables/meta.v1beta1.txt")),
    ("networking/v1", include_str!("tables/networking.v1.txt")),
    ("networking/v1beta1", include_str!("tables/networking.v1beta1.txt")),
    ("node/v1", include_str!("tables/node.v1.txt")),
    ("node/v1alpha1", include_str!("tables/node.v1alpha1.txt")),
    ("node/v1beta1", include_str!("tables/node.v1beta1.txt")),
    ("policy/v1", include_str!("tables/policy.v1.txt")),
    ("policy/v1beta1", include_str!("tables/policy.v1beta1.txt")),
    ("rbac/v1", include_str!("tables/rbac.v1.txt")),
    ("rbac/v1alpha1", include_str!("tables/rbac.v1alpha1.txt")),
    ("rbac/v1beta1", include_str!("tables/rbac.v1beta1.txt")),
    ("resource/v1", include_str!("tables/resource.v1.txt")),
    ("resource/v1alpha3", include_str!("tables/resource.v1alpha3.txt")),
    ("resource/v1beta1", include_str!("tables/resource.v1beta1.txt")),
    ("resource/v1beta2", include_str!("tables/resource.v1beta2.txt")),
    ("scheduling/v1", include_str!("tables/scheduling.v1.txt")),
    ("scheduling/v1alpha2", include_str!("tables/scheduling.v1alpha2.txt")),
    ("scheduling/v1beta1", include_str!("tables/scheduling.v1beta1.txt")),
    ("storage/v1", include_str!("tables/storage.v1.txt")),
    ("storage/v1alpha1", include_str!("tables/storage.v1alpha1.txt")),
    ("storage/v1beta1", include_str!("tables/storage.v1beta1.txt")),
    ("storagemigration/v1beta1", include_str!("tables/storagemigration.v1beta1.txt")),
];

pub(super) struct Table {
    pub(super) structs: Vec<Struct>,
    by_name: HashMap<(&'static str, &'static str), u32>,
}

pub(super) fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(Table::read)
}

pub(super) fn find(package: &str, name: &str) -> Option<StructRef> {
    let table = table();
    let index = *table.by_name.get(&(package, name))?;
    Some(StructRef { target: Target::Table(index), atomic: table.structs[index as usize].atomic })
}

/// A struct's line and the lines of its fields.
struct Block {
    package: &'static str,
    header: &'static str,
    fields: Vec<&'static str>,
}

impl Table {
    fn read() -> Table {
        let blocks = blocks();
        let mut by_name = HashMap::with_capacity(blocks.len());
        let mut atomic = Vec::with_capacity(blocks.len());
        for (index, block) in blocks.iter().enumerate() {
            let mut words = block.header.split(' ');
            let name = words.next().unwrap_or_default();
            by_name.insert((block.package, name), index as u32);
            atomic.push(words.any(|w| w == "atomic"));
        }
        let reader = Reader { by_name: &by_name, atomic: &atomic };
        let structs = blocks.iter().map(|b| reader.block(b)).collect();
        Table { structs, by_name }
    }
}

fn blocks() -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::with_capacity(1100);
    for &(package, text) in SOURCES {
        for line in text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
            match line.strip_prefix("  ") {
                None => blocks.push(Block { package, header: line, fields: Vec::new() }),
                Some(field) => blocks.last_mut().expect("a field follows a struct").fields.push(field),
            }
        }
    }
    blocks
}

struct Reader<'a> {
    by_name: &'a HashMap<(&'static str, &'static str), u32>,
    atomic: &'a [bool],
}

impl Reader<'_> {
    fn block(&self, block: &Block) -> Struct {
        let mut words = block.header.split(' ');
        let name = words.next().unwrap_or_default();
        let mut of = Struct {
            name: Name::Borrowed(name),
            package: Name::Borrowed(block.package),
            typed: true,
            form: json_form(name),
            ..Struct::default()
        };
        for word in words {
            match word.split_once('=').unwrap_or((word, "")) {
                ("kind", _) => of.fields.extend([type_meta("kind"), type_meta("apiVersion")]),
                ("atomic", _) => of.atomic = true,
                ("union", text) => of.unions.push(union(text)),
                (other, _) => panic!("unknown marker {other} at {name}"),
            }
        }
        of.fields.extend(block.fields.iter().map(|line| self.field(block.package, line)));
        of
    }

    fn field(&self, package: &'static str, line: &'static str) -> Field {
        let mut words = line.split(' ');
        let mut next = || words.next().unwrap_or_else(|| panic!("short line: {line}"));
        let (number, name, ty) = (next(), next(), next());
        let mut markers = Markers::default();
        words.for_each(|w| markers.read(w));
        let (name, omit_empty) = match name.strip_suffix('?') {
            Some(name) => (name, true),
            None => (name, false),
        };
        let pointer = ty.starts_with('*');
        Field {
            name: Name::Borrowed(name),
            number: number.parse().unwrap_or_else(|_| panic!("no number: {line}")),
            ty: self.ty(package, ty, &markers),
            pointer,
            omit_empty,
            omit_zero: markers.zero,
            required: markers.required.unwrap_or(!omit_empty),
            inline: markers.inline.map(Name::Borrowed),
            patch: markers.patch,
            go_type: markers.go.map(Name::Borrowed),
            default: markers.default.map(|text| default_value(ty, text)),
            free: free_json(ty),
            granular: markers.atomic == Some(false),
        }
    }

    fn ty(&self, package: &'static str, text: &'static str, markers: &Markers) -> Type {
        if let Some(item) = text.strip_prefix("[]") {
            return Type::List(Arc::new(List {
                item: self.base(package, item, markers),
                kind: markers.list.clone().unwrap_or(ListKind::Atomic),
                wrapped: false,
                go_type: markers.named.map(Name::Borrowed),
            }));
        }
        if let Some(value) = text.strip_prefix("{}") {
            return Type::Map(Arc::new(Map {
                value: self.base(package, value, markers),
                atomic: markers.atomic == Some(true),
                go_type: markers.named.map(Name::Borrowed),
                go_key: markers.key.map(Name::Borrowed),
            }));
        }
        self.base(package, text.strip_prefix('*').unwrap_or(text), markers)
    }

    fn base(&self, package: &'static str, name: &'static str, markers: &Markers) -> Type {
        if let Some(scalar) = scalar(name) {
            return Type::Scalar(scalar);
        }
        match name {
            "RawExtension" | "FieldsV1" | "JSON" => return Type::Any,
            "Strings" => {
                return Type::List(Arc::new(List {
                    item: Type::Scalar(Scalar::String),
                    kind: ListKind::Atomic,
                    wrapped: true,
                    go_type: markers.named.map(Name::Borrowed),
                }));
            }
            _ => {}
        }
        let (package, name) = name.rsplit_once('.').unwrap_or((package, name));
        let index = *self.by_name.get(&(package, name)).unwrap_or_else(|| panic!("no struct {package}.{name}"));
        let atomic = markers.atomic.unwrap_or(self.atomic[index as usize]);
        Type::Struct(StructRef { target: Target::Table(index), atomic })
    }
}

fn type_meta(name: &'static str) -> Field {
    Field {
        name: Name::Borrowed(name),
        number: 0,
        ty: Type::Scalar(Scalar::String),
        pointer: false,
        omit_empty: true,
        omit_zero: false,
        required: false,
        inline: None,
        patch: None,
        go_type: None,
        default: None,
        free: None,
        granular: false,
    }
}

/// A default in the type of its field.
fn default_value(ty: &str, text: &'static str) -> serde_json::Value {
    match ty.trim_start_matches('*') {
        "string" => text.into(),
        _ => serde_json::from_str(text).unwrap_or_else(|_| panic!("default {text} is no {ty}")),
    }
}

fn free_json(ty: &'static str) -> Option<Name> {
    let base = ty.trim_start_matches(['*', '[', ']', '{', '}']);
    matches!(base, "RawExtension" | "FieldsV1" | "JSON").then_some(Name::Borrowed(base))
}

/// `type:limited,exempt`: the discriminator, which may be empty, and the fields.
fn union(text: &'static str) -> Union {
    let (discriminator, fields) = text.split_once(':').unwrap_or_else(|| panic!("no union: {text}"));
    Union {
        discriminator: (!discriminator.is_empty()).then_some(Name::Borrowed(discriminator)),
        fields: fields.split(',').map(Name::Borrowed).collect(),
    }
}

fn json_form(name: &str) -> JsonForm {
    match name {
        "JSONSchemaPropsOrArray" => JsonForm::SchemaOrArray,
        "JSONSchemaPropsOrBool" => JsonForm::SchemaOrBool,
        "JSONSchemaPropsOrStringArray" => JsonForm::SchemaOrStrings,
        _ => JsonForm::Object,
    }
}

fn scalar(name: &str) -> Option<Scalar> {
    Some(match name {
        "string" => Scalar::String,
        "bool" => Scalar::Bool,
        "int32" => Scalar::Int32,
        "int64" => Scalar::Int64,
        "double" => Scalar::Double,
        "bytes" => Scalar::Bytes,
        "Time" => Scalar::Time,
        "MicroTime" => Scalar::MicroTime,
        "Duration" => Scalar::Duration,
        "Quantity" => Scalar::Quantity,
        "IntOrString" => Scalar::IntOrString,
        _ => return None,
    })
}

#[derive(Default)]
struct Markers {
    list: Option<ListKind>,
    patch: Option<Patch>,
    atomic: Option<bool>,
    inline: Option<&'static str>,
    zero: bool,
    required: Option<bool>,
    go: Option<&'static str>,
    named: Option<&'static str>,
    key: Option<&'static str>,
    default: Option<&'static str>,
}

impl Markers {
    fn read(&mut self, word: &'static str) {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        match name {
            "list" => self.list = Some(list_kind(value)),
            "patch" => self.patch = Some(patch(value)),
            "atomic" => self.atomic = Some(true),
            "granular" => self.atomic = Some(false),
            "inline" => self.inline = Some(value),
            "zero" => self.zero = true,
            "required" => self.required = Some(true),
            "optional" => self.required = Some(false),
            "go" => self.go = Some(value),
            "named" => self.named = Some(value),
            "key" => self.key = Some(value),
            "default" => self.default = Some(value),
            other => panic!("unknown marker {other}"),
        }
    }
}

fn list_kind(text: &'static str) -> ListKind {
    match text.split_once(':') {
        Some(("map", keys)) => ListKind::Map(keys.split(',').map(Name::Borrowed).collect()),
        None if text == "set" => ListKind::Set,
        None if text == "atomic" => ListKind::Atomic,
        _ => panic!("unknown list kind {text}"),
    }
}

fn patch(text: &'static str) -> Patch {
    let (strategies, key) = match text.split_once(':') {
        Some((s, k)) => (s, Some(Name::Borrowed(k))),
        None => (text, None),
    };
    Patch {
        merge: strategies.split(',').any(|s| s == "merge"),
        replace: strategies.split(',').any(|s| s == "replace"),
        retain_keys: strategies.split(',').any(|s| s == "retainKeys"),
        merge_key: key,
    }
}
