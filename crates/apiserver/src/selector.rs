//! Label and field selectors of lists and watches, checked against what the kind can be selected by.

use api_types::selector::{FieldSelector, LabelSelector};

use crate::{
    cache::Entry,
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

    pub fn matches(&self, entry: &Entry) -> bool {
        let labels = &entry.selectable.labels;
        self.labels.matches_by(|key| labels.get(key).map(String::as_str))
            && self.fields.matches_by(|label| Some(field(entry, label)))
    }
}

fn field<'a>(entry: &'a Entry, label: &str) -> &'a str {
    match label {
        "metadata.name" => entry.name(),
        "metadata.namespace" => entry.namespace(),
        _ => entry.selectable.fields.iter().find(|(l, _)| &**l == label).map_or("", |(_, v)| v.as_str()),
    }
}
