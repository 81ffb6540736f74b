//! Field selectors: `metadata.name=a,spec.nodeName!=b`.

use std::fmt;
use std::str::FromStr;

use super::SelectorError;

/// One condition on one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRequirement {
    pub field: String,
    /// `!=` instead of `=`.
    pub negated: bool,
    pub value: String,
}

/// All requirements must hold; the empty selector selects everything.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct FieldSelector {
    pub requirements: Vec<FieldRequirement>,
}

impl FieldSelector {
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether fields match that are looked up by name; an absent field is the empty string.
    pub fn matches_by<'a>(&self, field: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|r| (field(&r.field).unwrap_or_default() == r.value) != r.negated)
    }

    /// The value that the selector requires of a field (`metadata.name=x`).
    pub fn required(&self, field: &str) -> Option<&str> {
        self.requirements.iter().find(|r| !r.negated && r.field == field).map(|r| r.value.as_str())
    }

    /// Refuses fields that the resource does not select by; `known` must be sorted.
    pub fn check(&self, known: &[&str]) -> Result<(), SelectorError> {
        for requirement in &self.requirements {
            if !known.contains(&requirement.field.as_str()) {
                let list: Vec<String> = known.iter().map(|k| format!("{k:?}")).collect();
                return Err(SelectorError(format!(
                    "{:?} is not a known field selector: only {}",
                    requirement.field,
                    list.join(", ")
                )));
            }
        }
        Ok(())
    }
}

impl FromStr for FieldSelector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let mut requirements = Vec::new();
        for term in terms(text).into_iter().filter(|t| !t.is_empty()) {
            let (field, negated, value) = split_term(term)
                .ok_or_else(|| SelectorError(format!("invalid selector: '{text}'; can't understand '{term}'")))?;
            let value = unescape(value)?;
            requirements.push(FieldRequirement { field: field.to_owned(), negated, value });
        }
        requirements.sort_by(|a, b| a.field.cmp(&b.field));
        Ok(FieldSelector { requirements })
    }
}

/// Splits at commas that are not escaped.
fn terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    for (at, _) in term.char_indices() {
        let (field, rest) = term.split_at(at);
        for (operator, negated) in [("!=", true), ("==", false), ("=", false)] {
            if let Some(value) = rest.strip_prefix(operator) {
                return Some((field, negated, value));
            }
        }
    }
    None
}

fn unescape(text: &str) -> Result<String, SelectorError> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(c) => {
                    return Err(SelectorError(format!("invalid field selector: invalid escape sequence: \\{c}")));
                }
                None => return Err(SelectorError("invalid field selector: invalid escape sequence: \\".to_owned())),
            },
            ',' | '=' => {
                return Err(SelectorError(format!("invalid field selector: unescaped character in value: {c}")));
            }
            _ => out.push(c),
        }
    }
    Ok(out)
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let operator = if requirement.negated { "!=" } else { "=" };
            let value = requirement.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            write!(f, "{comma}{}{operator}{value}", requirement.field)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_matches_and_checks() {
        let selector: FieldSelector = r"metadata.name=a\,b,spec.nodeName!=n".parse().expect("valid");
        assert_eq!(selector.to_string(), r"metadata.name=a\,b,spec.nodeName!=n");
        assert!(selector.matches_by(|f| (f == "metadata.name").then_some("a,b")));
        assert!(!selector.matches_by(|f| Some(if f == "metadata.name" { "a,b" } else { "n" })));
        assert_eq!(selector.required("metadata.name"), Some("a,b"));
        let error = selector.check(&["metadata.name", "metadata.namespace"]).expect_err("unknown");
        assert_eq!(
            error.0,
            "\"spec.nodeName\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
        assert_eq!("x".parse::<FieldSelector>().expect_err("bad").0, "invalid selector: 'x'; can't understand 'x'");
    }
}
