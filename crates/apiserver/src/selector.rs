//! Label and field selectors of lists and watches, checked against what the kind can be selected by.

use api_types::selector::{FieldSelector, LabelSelector, Operator, Requirement};

use crate::{
    cache::{By, Entry, Scope, Term},
    error::{Error, Result},
    model::{Format, Stored},
};

/// What a list or watch selects.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selector {
    /// Reads both selectors of a request for `format`.
    pub fn parse(stored: &Stored, format: &Format, labels: &str, fields: &str) -> Result<Selector> {
        let labels: LabelSelector = labels.parse().map_err(|e| Error::bad_request(format!("{e}")))?;
        let fields: FieldSelector = fields.parse().map_err(|e| Error::bad_request(format!("{e}")))?;
        for requirement in &fields.requirements {
            let label = requirement.field.as_str();
            let general = matches!(label, "metadata.name" | "metadata.namespace");
            if !general && !stored.model.fields.iter().any(|f| &*f.label == label) {
                return Err(Error::bad_request((stored.model.unknown_field)(format, label)));
            }
        }
        Ok(Selector { labels, fields })
    }

    /// Whether everything matches.
    pub fn is_all(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// The one name that can match.
    pub fn name(&self) -> Option<&str> {
        self.fields.required("metadata.name")
    }

    /// The one namespace that can match.
    pub fn namespace(&self) -> Option<&str> {
        self.fields.required("metadata.namespace")
    }

    /// A value of a label or field that everything selected has: what the cache can find quickly.
    pub fn term(&self) -> Option<Term> {
        let general = |field: &str| matches!(field, "metadata.name" | "metadata.namespace");
        let mut fields = self.fields.requirements.iter().filter(|r| !r.negated && !general(&r.field));
        if let Some(field) = fields.next() {
            return Some(Term { by: By::Field(field.field.clone()), value: field.value.clone() });
        }
        let equality = |r: &&Requirement| {
            matches!(r.operator, Operator::Equals | Operator::DoubleEquals | Operator::In) && r.values.len() == 1
        };
        let label = self.labels.requirements().iter().find(equality)?;
        Some(Term { by: By::Label(label.key.clone()), value: label.values.first()?.clone() })
    }

    /// The part of `scope` that can match: narrowed to the selector's name, namespace and term.
    pub fn narrow(&self, mut scope: Scope) -> Scope {
        if scope.name.is_empty() {
            scope.name = self.name().unwrap_or_default().to_owned();
        }
        if scope.namespace.is_empty() {
            scope.namespace = self.namespace().unwrap_or_default().to_owned();
        }
        scope.term = self.term();
        scope
    }

    pub fn matches(&self, entry: &Entry) -> bool {
        self.labels.matches_by(|key| entry.selectable.label(key))
            && self.fields.matches_by(|label| Some(field(entry, label)))
    }
}

fn field<'a>(entry: &'a Entry, label: &str) -> &'a str {
    match label {
        "metadata.name" => entry.name(),
        "metadata.namespace" => entry.namespace(),
        _ => entry.selectable.field(label).unwrap_or_default(),
    }
}
