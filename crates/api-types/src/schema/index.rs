//! What walks over a struct look up again and again, worked out once: its fields by name and by number, inlined ones flattened, and what
//! is printed though it is absent.

use std::sync::OnceLock;

use rustc_hash::FxHashMap;
use serde_json::Value;

use super::{Field, Name, Struct, Type, normalize::zero_of_field};

/// A struct's index, once somebody looked.
#[derive(Clone, Debug, Default)]
pub struct LazyIndex {
    fields: OnceLock<Index>,
    /// See [`Struct::is_whole_in_protobuf`].
    whole: OnceLock<bool>,
}

/// See the module.
#[derive(Clone, Debug)]
struct Index {
    /// All fields in JSON order, where inlined structs make them others than the struct's own.
    flat: Option<Vec<Field>>,
    /// Positions in the flat fields by name.
    by_name: FxHashMap<Name, u16>,
    /// Positions in the struct's own fields by protobuf number; those without one are left out.
    by_number: Vec<u16>,
    /// Where each of the struct's own fields is in the flat ones; of an inlined struct its first.
    starts: Vec<u16>,
    /// Positions in the flat fields of what is printed when it is absent, and how.
    printed: Vec<(u16, Value)>,
}

impl Index {
    fn new(of: &Struct) -> Index {
        let inlines = |field: &Field| field.inline.is_some() && matches!(field.ty, Type::Struct(_));
        let flat = of.fields.iter().any(inlines).then(|| of.flat_fields().into_iter().cloned().collect::<Vec<_>>());
        let fields = flat.as_deref().unwrap_or(&of.fields);
        let by_name = fields.iter().zip(0..).map(|(field, at)| (field.name.clone(), at)).collect();
        let mut by_number: Vec<u16> =
            (0..of.fields.len() as u16).filter(|at| of.fields[usize::from(*at)].number > 0).collect();
        by_number.sort_by_key(|at| of.fields[usize::from(*at)].number);
        let widths = of.fields.iter().map(|field| match &field.ty {
            Type::Struct(inner) if field.inline.is_some() => inner.flat_fields().len() as u16,
            _ => 1,
        });
        let starts = widths.scan(0, |at, width| Some(std::mem::replace(at, *at + width))).collect();
        let printed = if of.typed {
            (0..).zip(fields).filter_map(|(at, field)| Some((at, zero_of_field(field)?))).collect()
        } else {
            Vec::new()
        };
        Index { flat, by_name, by_number, starts, printed }
    }
}

/// Whether all that a value of the type has is in its message. `seen` are the structs that are being looked at, or were.
fn is_whole(ty: &Type, seen: &mut Vec<*const Struct>) -> bool {
    match ty {
        Type::Scalar(_) | Type::Any => true,
        Type::List(list) => is_whole(&list.item, seen),
        Type::Map(map) => is_whole(&map.value, seen),
        Type::Struct(of) => {
            let of: &Struct = of;
            if seen.contains(&std::ptr::from_ref(of)) {
                return true;
            }
            seen.push(of);
            of.fields.iter().all(|field| field.number > 0 && is_whole(&field.ty, seen))
        }
    }
}

impl Struct {
    fn index(&self) -> &Index {
        self.index.fields.get_or_init(|| Index::new(self))
    }

    /// All fields in JSON order, those of inlined structs in their place.
    pub fn flat(&self) -> &[Field] {
        self.index().flat.as_deref().unwrap_or(&self.fields)
    }

    /// Where in [`Struct::flat`] the field of this JSON name is.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.index().by_name.get(name).map(|at| usize::from(*at))
    }

    /// The field of this JSON name, also those of inlined structs.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.position(name).map(|at| &self.flat()[at])
    }

    /// The struct's own field of this protobuf number.
    pub fn numbered(&self, number: u32) -> Option<&Field> {
        self.numbered_at(number).map(|(field, _)| field)
    }

    /// The same, and where it is in [`Struct::flat`]; of an inlined struct its first field.
    pub fn numbered_at(&self, number: u32) -> Option<(&Field, usize)> {
        let index = self.index();
        let at = index.by_number.binary_search_by_key(&number, |at| self.fields[usize::from(*at)].number).ok()?;
        let own = usize::from(index.by_number[at]);
        Some((&self.fields[own], index.starts[own].into()))
    }

    /// The struct's own fields in the order of their numbers.
    pub fn by_number(&self) -> impl Iterator<Item = &Field> {
        self.index().by_number.iter().map(|at| &self.fields[usize::from(*at)])
    }

    /// Whether an object's protobuf message says all that its JSON does, but for its own kind and version. The claim templates of a stateful set
    /// have a kind and a version too, which protobuf leaves out.
    pub fn is_whole_in_protobuf(&self) -> bool {
        *self.index.whole.get_or_init(|| {
            let mut seen = Vec::new();
            self.fields.iter().all(|field| is_whole(&field.ty, &mut seen))
        })
    }

    /// What is printed when it is absent: where in [`Struct::flat`], and as what.
    pub fn printed(&self) -> impl Iterator<Item = (usize, &Value)> {
        self.index().printed.iter().map(|(at, zero)| (usize::from(*at), zero))
    }
}
