//! Label and field selectors of lists and watches, checked against what the kind can be selected by.

use crate::{
    cache::Entry,
    error::{Error, Result},
    model::{Format, Stored},
};

/// One condition on a field.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FieldTerm {
    label: String,
    value: String,
    equal: bool,
}

/// What a list or watch selects.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    labels: Vec<LabelTerm>,
    fields: Vec<FieldTerm>,
}

#[derive(Clone, Debug)]
struct LabelTerm {
    key: String,
    values: Vec<String>,
    op: LabelOp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LabelOp {
    In,
    NotIn,
    Exists,
    Absent,
}

impl Selector {
    /// Reads both selectors of a request for `format`.
    pub fn parse(stored: &Stored, format: &Format, labels: &str, fields: &str) -> Result<Selector> {
        let labels = parse_labels(labels)?;
        let fields = parse_fields(fields)?;
        for term in &fields {
            let general = matches!(term.label.as_str(), "metadata.name" | "metadata.namespace");
            if !general && !stored.model.fields.iter().any(|f| f.label == term.label) {
                return Err(Error::bad_request((stored.model.unknown_field)(format, &term.label)));
            }
        }
        Ok(Selector { labels, fields })
    }

    /// Whether everything matches.
    pub fn is_all(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// The one name that can match.
    pub fn name(&self) -> Option<&str> {
        self.required("metadata.name")
    }

    /// The one namespace that can match.
    pub fn namespace(&self) -> Option<&str> {
        self.required("metadata.namespace")
    }

    fn required(&self, label: &str) -> Option<&str> {
        self.fields.iter().find(|t| t.equal && t.label == label).map(|t| t.value.as_str())
    }

    pub fn matches(&self, entry: &Entry) -> bool {
        let labels = &entry.selectable.labels;
        self.labels.iter().all(|term| {
            let value = labels.get(&term.key);
            match term.op {
                LabelOp::In => value.is_some_and(|v| term.values.contains(v)),
                LabelOp::NotIn => value.is_none_or(|v| !term.values.contains(v)),
                LabelOp::Exists => value.is_some(),
                LabelOp::Absent => value.is_none(),
            }
        }) && self.fields.iter().all(|term| (field(entry, &term.label) == term.value) == term.equal)
    }
}

fn field<'a>(entry: &'a Entry, label: &str) -> &'a str {
    match label {
        "metadata.name" => entry.name(),
        "metadata.namespace" => entry.namespace(),
        _ => entry.selectable.fields.iter().find(|(l, _)| *l == label).map_or("", |(_, v)| v.as_str()),
    }
}

fn parse_fields(text: &str) -> Result<Vec<FieldTerm>> {
    let mut terms = Vec::new();
    for term in text.split(',').filter(|t| !t.is_empty()) {
        let parsed = if let Some((label, value)) = term.split_once("!=") {
            (label, value, false)
        } else if let Some((label, value)) = term.split_once("==") {
            (label, value, true)
        } else if let Some((label, value)) = term.split_once('=') {
            (label, value, true)
        } else {
            return Err(Error::bad_request(format!("invalid selector: '{text}'; can't understand '{term}'")));
        };
        terms.push(FieldTerm { label: parsed.0.trim().to_owned(), value: parsed.1.to_owned(), equal: parsed.2 });
    }
    Ok(terms)
}

fn parse_labels(text: &str) -> Result<Vec<LabelTerm>> {
    let mut terms = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = term_end(rest);
        terms.push(parse_label_term(rest[..end].trim())?);
        rest = rest.get(end + 1..).unwrap_or_default().trim();
    }
    Ok(terms)
}

/// The comma that ends the first term, outside of parentheses.
fn term_end(text: &str) -> usize {
    let mut depth = 0;
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => return i,
            _ => {}
        }
    }
    text.len()
}

fn parse_label_term(term: &str) -> Result<LabelTerm> {
    let of = |key: &str, op, values: Vec<String>| Ok(LabelTerm { key: key.trim().to_owned(), values, op });
    let list = |text: &str| text.trim().trim_matches(['(', ')']).split(',').map(|v| v.trim().to_owned()).collect();
    if let Some(key) = term.strip_prefix('!') {
        return of(key, LabelOp::Absent, Vec::new());
    }
    if let Some((key, values)) = term.split_once(" notin ") {
        return of(key, LabelOp::NotIn, list(values));
    }
    if let Some((key, values)) = term.split_once(" in ") {
        return of(key, LabelOp::In, list(values));
    }
    if let Some((key, value)) = term.split_once("!=") {
        return of(key, LabelOp::NotIn, vec![value.trim().to_owned()]);
    }
    if let Some((key, value)) = term.split_once('=') {
        return of(key, LabelOp::In, vec![value.trim_start_matches('=').trim().to_owned()]);
    }
    if term.is_empty() {
        return Err(Error::bad_request("found ',', expected: identifier after ','"));
    }
    of(term, LabelOp::Exists, Vec::new())
}
