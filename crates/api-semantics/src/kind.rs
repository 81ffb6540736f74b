//! A kind's behaviour as a table of functions, and the one `Strategy` that runs it.

use api_types::FieldError;
use serde_json::{Value, json};

use crate::field::{Errors, Field};
use crate::object_meta::{self, NameRule};
use crate::strategy::{Context, Part, Resets, Strategy, changes_spec, keep_metadata, keep_other_parts};

/// What is special about a kind. `..Kind::PLAIN` stands for "as the generic registry does it".
pub(crate) struct Kind {
    pub(crate) namespaced: bool,
    pub(crate) name: NameRule,
    /// Whether `metadata.generation` is kept.
    pub(crate) generation: bool,
    /// What counts as a new generation.
    pub(crate) bumps_generation: fn(&Value, &Value) -> bool,
    pub(crate) create_on_update: bool,
    pub(crate) unconditional_update: bool,
    /// The status of a new object; `None` for kinds without a status (whatever the client sent stays).
    pub(crate) initial_status: Option<fn() -> Value>,
    /// Whether an update of the status leaves labels, annotations, owners and finalizers as they were.
    pub(crate) status_keeps_metadata: bool,
    /// See [`Strategy::resets`]; `None` where the usual rule holds.
    pub(crate) resets: fn(Part) -> Option<Resets>,
    pub(crate) default: fn(&mut Value),
    /// Runs after the status was reset.
    pub(crate) prepare_create: fn(&Context, &mut Value),
    /// Runs after the other parts were carried over.
    pub(crate) prepare_update: fn(&Context, Part, &mut Value, &Value),
    /// What is wrong with the object beyond its metadata; run on create and on updates of the main part.
    pub(crate) validate: fn(&Field, &mut Errors),
    /// Upstream looks twice on updates of this kind, and clients see the causes twice.
    pub(crate) validated_twice: bool,
    /// How often upstream validates labels on an update: twice for every kind, and then in the kind's own validation of
    /// the change and of the new object, where it has these.
    pub(crate) labels_validated: usize,
    /// What is wrong only with a new object.
    pub(crate) validate_create: fn(&Field, &mut Errors),
    /// What is wrong with the change from the second to the first, for the main part.
    pub(crate) validate_change: fn(&Field, &Field, &mut Errors),
    /// What is wrong with an update of another part.
    pub(crate) validate_part: fn(Part, &Field, &Field, &mut Errors),
    pub(crate) warnings: fn(&Field, Option<&Field>, &mut Vec<String>),
}

impl Kind {
    /// A namespaced kind with a DNS subdomain name, no status and no rules.
    pub(crate) const PLAIN: Kind = Kind {
        namespaced: true,
        name: object_meta::dns_subdomain,
        generation: false,
        bumps_generation: changes_spec,
        create_on_update: false,
        unconditional_update: true,
        initial_status: None,
        status_keeps_metadata: false,
        resets: |_| None,
        default: |_| {},
        prepare_create: |_, _| {},
        prepare_update: |_, _, _, _| {},
        validate: |_, _| {},
        validated_twice: false,
        labels_validated: 4,
        validate_create: |_, _| {},
        validate_change: |_, _, _| {},
        validate_part: |_, _, _, _| {},
        warnings: |_, _, _| {},
    };

    /// The same without a namespace.
    pub(crate) const CLUSTER: Kind = Kind { namespaced: false, ..Kind::PLAIN };
}

/// The status that most kinds start with.
pub(crate) fn empty_status() -> Value {
    json!({})
}

impl Strategy for Kind {
    fn default(&self, object: &mut Value) {
        (self.default)(object);
    }

    fn prepare_create(&self, context: &Context, object: &mut Value) {
        if let (Some(status), Some(map)) = (self.initial_status, object.as_object_mut()) {
            map.insert("status".to_owned(), status());
        }
        (self.prepare_create)(context, object);
    }

    fn prepare_update(&self, context: &Context, part: Part, new: &mut Value, old: &Value) {
        if self.initial_status.is_some() {
            keep_other_parts(part, new, old);
        }
        if self.status_keeps_metadata && part == Part::Status {
            keep_metadata(new, old);
        }
        (self.prepare_update)(context, part, new, old);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        let root = Field::root(object);
        object_meta::validate(&root.get("metadata"), self.namespaced, self.name, &mut errors);
        (self.validate)(&root, &mut errors);
        (self.validate_create)(&root, &mut errors);
        errors.into_vec()
    }

    fn validate_update(&self, part: Part, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        let (new, old) = (Field::root(new), Field::root(old));
        object_meta::validate_update(&new.get("metadata"), &old.get("metadata"), &mut errors);
        if part == Part::Main {
            object_meta::validate(&new.get("metadata"), self.namespaced, self.name, &mut errors);
            errors.dedup();
            for _ in 1..self.labels_validated {
                object_meta::labels_and_annotations(&new.get("metadata"), &mut errors);
            }
            for _ in 0..=usize::from(self.validated_twice) {
                (self.validate)(&new, &mut errors);
            }
            (self.validate_change)(&new, &old, &mut errors);
        } else {
            (self.validate_part)(part, &new, &old, &mut errors);
        }
        errors.into_vec()
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut out = Vec::new();
        let old = old.map(Field::root);
        (self.warnings)(&Field::root(new), old.as_ref(), &mut out);
        out
    }

    fn resets(&self, part: Part) -> Option<Resets> {
        match part {
            Part::Status if self.status_keeps_metadata => Some(&[&["metadata"], &["spec"]]),
            _ => (self.resets)(part),
        }
    }

    fn has_generation(&self) -> bool {
        self.generation
    }

    fn bumps_generation(&self, new: &Value, old: &Value) -> bool {
        (self.bumps_generation)(new, old)
    }

    fn create_on_update(&self) -> bool {
        self.create_on_update
    }

    fn unconditional_update(&self) -> bool {
        self.unconditional_update
    }
}
