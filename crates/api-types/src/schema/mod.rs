//! The shape of every object: one runtime [`Schema`] over which codecs, pruning, strategic merge and server-side apply
//! run. Built-in types come from the text tables beside this file (see [`table`] for the format); custom resources
//! build the same nodes from their structural schemas.
//!
//! A struct of the built-in table is `typed`: its JSON follows Go's `encoding/json` over upstream's types (field order,
//! `omitempty`, zero values). Structs made for custom resources are not: their JSON keeps what the client sent, with
//! sorted keys.

mod index;
mod normalize;
mod table;

pub use index::LazyIndex;
pub use normalize::{is_omitted, normalize, normalize_as_printed, normalize_as_sent, zero};

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

/// Text that is static for the built-in table and owned for custom resources.
pub type Name = Cow<'static, str>;

/// The type of a whole object.
pub type Schema = Type;

/// One node of a schema. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Type {
    Scalar(Scalar),
    Struct(StructRef),
    List(Arc<List>),
    Map(Arc<Map>),
    /// Free JSON (`RawExtension`, `FieldsV1`, `JSON`, or whatever a custom resource preserves).
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    String,
    Bool,
    Int32,
    Int64,
    Double,
    /// Base64 text in JSON.
    Bytes,
    /// RFC 3339 in whole seconds.
    Time,
    /// RFC 3339 with six digits of a second.
    MicroTime,
    /// Go's duration text (`1h0m0s`).
    Duration,
    /// Canonical quantity text.
    Quantity,
    IntOrString,
}

#[derive(Clone, Debug)]
pub struct List {
    pub item: Type,
    pub kind: ListKind,
    /// In protobuf the list is a message of its own with the list as field 1 (`Verbs`, `ExtraValue`).
    pub wrapped: bool,
    /// The Go type's name where it has one (`v1.Verbs`); only for error texts.
    pub go_type: Option<Name>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListKind {
    Atomic,
    Set,
    /// Items are found by the values of these keys.
    Map(Vec<Name>),
}

#[derive(Clone, Debug)]
pub struct Map {
    pub value: Type,
    pub atomic: bool,
    /// The Go type's name where it has one (`v1.ResourceList`) and that of its keys; only for error texts.
    pub go_type: Option<Name>,
    pub go_key: Option<Name>,
}

/// A struct as one place refers to it.
#[derive(Clone, Debug)]
pub struct StructRef {
    target: Target,
    /// Owned as a whole by one field manager here.
    pub atomic: bool,
}

#[derive(Clone, Debug)]
enum Target {
    Table(u32),
    Owned(Arc<Struct>),
}

impl StructRef {
    /// A reference to a struct that is not in the built-in table.
    pub fn owned(of: Struct) -> Self {
        let atomic = of.atomic;
        StructRef { target: Target::Owned(Arc::new(of)), atomic }
    }
}

impl Deref for StructRef {
    type Target = Struct;

    fn deref(&self) -> &Struct {
        match &self.target {
            Target::Table(index) => &table::table().structs[*index as usize],
            Target::Owned(of) => of,
        }
    }
}

/// How a struct's JSON looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum JsonForm {
    #[default]
    Object,
    /// A schema, or a list of schemas (`JSONSchemaPropsOrArray`).
    SchemaOrArray,
    /// A schema, or `true`/`false` (`JSONSchemaPropsOrBool`).
    SchemaOrBool,
    /// A schema, or a list of names (`JSONSchemaPropsOrStringArray`).
    SchemaOrStrings,
}

#[derive(Clone, Debug, Default)]
pub struct Struct {
    /// `PodSpec`; empty for custom resources.
    pub name: Name,
    /// `core/v1`; empty for custom resources.
    pub package: Name,
    pub fields: Vec<Field>,
    /// Go's rules of zero values and field order hold (built-in types).
    pub typed: bool,
    pub atomic: bool,
    /// Unknown fields are kept (`x-kubernetes-preserve-unknown-fields`).
    pub open: bool,
    pub form: JsonForm,
    /// Which of the fields exclude each other.
    pub unions: Vec<Union>,
    /// Worked out at the first look; the fields must not change from then on.
    pub index: LazyIndex,
}

/// Fields of which at most one is set (`x-kubernetes-unions`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Union {
    /// The field that says which one.
    pub discriminator: Option<Name>,
    pub fields: Vec<Name>,
}

impl Struct {
    /// All fields in JSON order, inlined structs flattened.
    fn flat_fields(&self) -> Vec<&Field> {
        let mut out = Vec::with_capacity(self.fields.len());
        self.flatten(&mut out);
        out
    }

    fn flatten<'a>(&'a self, out: &mut Vec<&'a Field>) {
        for field in &self.fields {
            match (&field.inline, &field.ty) {
                (Some(_), Type::Struct(of)) => of.flatten(out),
                _ => out.push(field),
            }
        }
    }

    /// `v1.PodSpec`, as Go prints the type.
    pub fn go_name(&self) -> String {
        let version = self.package.rsplit('/').next().unwrap_or_default();
        format!("{version}.{}", self.name)
    }
}

#[derive(Clone, Debug)]
pub struct Field {
    pub name: Name,
    /// Protobuf field number; 0 when the field is not in protobuf (`kind`, `apiVersion`).
    pub number: u32,
    pub ty: Type,
    /// Can be absent as opposed to zero.
    pub pointer: bool,
    pub omit_empty: bool,
    /// A zero struct is omitted too (`omitzero`).
    pub omit_zero: bool,
    pub required: bool,
    /// The struct's fields appear in place of this one; the text is the Go field's name.
    pub inline: Option<Name>,
    pub patch: Option<Patch>,
    /// The Go type's name of a named scalar (`v1.DNSPolicy`); only for error texts.
    pub go_type: Option<Name>,
    /// What the type declares as its default; an absent key of a list's item counts as it.
    pub default: Option<serde_json::Value>,
    /// The Go type of free JSON here (`RawExtension`, `FieldsV1`, `JSON`).
    pub free: Option<Name>,
    /// Marked as merged field by field, though that is the rule.
    pub granular: bool,
}

impl Field {
    /// A field without markers, as custom resources have them.
    pub fn new(name: impl Into<Name>, ty: Type) -> Self {
        Field {
            name: name.into(),
            number: 0,
            ty,
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
}

/// Strategic merge markers of a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    pub merge: bool,
    pub replace: bool,
    pub retain_keys: bool,
    pub merge_key: Option<Name>,
}

/// The struct of a package (`core/v1`) by its name (`PodSpec`).
pub fn message(package: &str, name: &str) -> Option<StructRef> {
    table::find(package, name)
}

/// Every struct of the built-in table.
pub fn all() -> &'static [Struct] {
    &table::table().structs
}

/// The schema of a served kind. Kinds that every group has (`DeleteOptions`, `Status`, ...) are found under any.
pub fn lookup(group: &str, version: &str, kind: &str) -> Option<Schema> {
    let package = format!("{}/{version}", package_of_group(group));
    message(&package, kind)
        .filter(|of| is_root(of))
        .or_else(|| message("meta/v1", kind).filter(|of| is_root(of)))
        .map(Type::Struct)
}

/// Whether the struct carries `kind` and `apiVersion` itself.
fn is_root(of: &Struct) -> bool {
    of.name == "WatchEvent" || of.fields.iter().any(|f| f.number == 0 && f.name == "kind")
}

/// The table's package of an API group, without the version.
pub fn package_of_group(group: &str) -> &str {
    match group {
        "" => "core",
        "internal.apiserver.k8s.io" => "apiserverinternal",
        "rbac.authorization.k8s.io" => "rbac",
        _ => group.split('.').next().unwrap_or(group),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_kinds_and_inlined_fields() {
        let Some(Type::Struct(pod)) = lookup("", "v1", "Pod") else { panic!("no Pod") };
        assert_eq!(pod.go_name(), "v1.Pod");
        let volume = message("core/v1", "Volume").expect("Volume");
        assert_eq!(volume.field("hostPath").map(|f| f.number), Some(1));
        let spec = message("core/v1", "PodSpec").expect("PodSpec");
        let containers = spec.field("containers").expect("containers");
        let Type::List(list) = &containers.ty else { panic!("not a list") };
        assert_eq!(list.kind, ListKind::Map(vec!["name".into()]));
        assert!(lookup("apps", "v1", "DeleteOptions").is_some());
        assert!(lookup("", "v1", "PodSpec").is_none());
        assert!(lookup("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema").is_some());
    }

    #[test]
    fn claim_templates_have_a_kind_that_protobuf_leaves_out() {
        let whole = |group, kind| match lookup(group, "v1", kind) {
            Some(Type::Struct(of)) => of.is_whole_in_protobuf(),
            _ => panic!("no {kind}"),
        };
        assert!(!whole("apps", "StatefulSet"));
        for (group, kind) in
            [("", "Pod"), ("apps", "Deployment"), ("", "Node"), ("apiextensions.k8s.io", "CustomResourceDefinition")]
        {
            assert!(whole(group, kind), "{kind}");
        }
    }

    #[test]
    fn every_reference_resolves() {
        assert!(all().len() > 1000);
        for of in all() {
            for field in &of.fields {
                if let Type::Struct(to) = &field.ty {
                    assert!(!to.name.is_empty(), "{}.{}", of.name, field.name);
                }
            }
        }
    }
}
