//! Validation errors with field paths, in the form that the API puts into `Status.details.causes`.

use std::fmt;

use smallstr::SmallString;

/// Longer paths are allocated.
const USUAL: usize = 64;

/// A JSON field path as upstream prints it: `spec.containers[0].name`, `metadata.labels[a.b/c]`.
///
/// Every field that validation looks at makes one, so it is spared allocations and formatting.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(SmallString<[u8; USUAL]>);

impl Path {
    /// The path of a top-level field.
    pub fn new(name: &str) -> Self {
        Path(name.into())
    }

    /// The field `name` below this one (`a.b`; on the empty path just `b`).
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Path::new(name) } else { self.and(&[".", name]) }
    }

    /// The list item `index` of this field.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.and(&["[", &index.to_string(), "]"])
    }

    /// The map entry `key` of this field.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.and(&["[", key, "]"])
    }

    fn and(&self, parts: &[&str]) -> Self {
        let mut text = self.clone().0;
        parts.iter().for_each(|part| text.push_str(part));
        Path(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Clone for Path {
    /// As one copy: the text's own goes byte by byte.
    fn clone(&self) -> Self {
        Path(self.as_str().into())
    }
}

impl Default for Path {
    fn default() -> Self {
        Path(SmallString::new())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The reason of a cause (`FieldValueRequired`, ...), see upstream's `field.ErrorType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldErrorKind {
    Required,
    Invalid,
    NotSupported,
    Duplicate,
    Forbidden,
    TooLong,
    TooMany,
    TooFew,
    NotFound,
    TypeInvalid,
    Internal,
}

impl FieldErrorKind {
    /// The reason string of `StatusCause`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TooFew => "FieldValueTooFew",
            Self::NotFound => "FieldValueNotFound",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::Internal => "InternalError",
        }
    }
}

/// One thing that is wrong with one field. `message` is the whole text of the cause, without the field's path
/// (`Invalid value: "x": must be ...`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    pub kind: FieldErrorKind,
    pub field: Path,
    pub message: String,
}

impl FieldError {
    pub fn required(field: &Path, detail: &str) -> Self {
        let message = if detail.is_empty() { "Required value".to_owned() } else { format!("Required value: {detail}") };
        FieldError { kind: FieldErrorKind::Required, field: field.clone(), message }
    }

    /// `value` is shown as JSON shows it: strings quoted, objects as JSON text.
    pub fn invalid(field: &Path, value: impl serde::Serialize, detail: &str) -> Self {
        FieldError {
            kind: FieldErrorKind::Invalid,
            field: field.clone(),
            message: format!("Invalid value: {}: {detail}", shown(&value)),
        }
    }

    pub fn not_supported(field: &Path, value: impl serde::Serialize, supported: &[&str]) -> Self {
        let list: Vec<String> = supported.iter().map(|s| format!("\"{s}\"")).collect();
        let mut message = format!("Unsupported value: {}", shown(&value));
        if !list.is_empty() {
            message += &format!(": supported values: {}", list.join(", "));
        }
        FieldError { kind: FieldErrorKind::NotSupported, field: field.clone(), message }
    }

    pub fn duplicate(field: &Path, value: impl serde::Serialize) -> Self {
        FieldError {
            kind: FieldErrorKind::Duplicate,
            field: field.clone(),
            message: format!("Duplicate value: {}", shown(&value)),
        }
    }

    pub fn forbidden(field: &Path, detail: &str) -> Self {
        FieldError { kind: FieldErrorKind::Forbidden, field: field.clone(), message: format!("Forbidden: {detail}") }
    }

    pub fn too_long(field: &Path, max: usize) -> Self {
        FieldError {
            kind: FieldErrorKind::TooLong,
            field: field.clone(),
            message: format!("Too long: may not be more than {max} bytes"),
        }
    }

    pub fn too_many(field: &Path, actual: usize, max: usize) -> Self {
        FieldError {
            kind: FieldErrorKind::TooMany,
            field: field.clone(),
            message: format!("Too many: {actual}: must have at most {max} items"),
        }
    }

    pub fn not_found(field: &Path, value: impl serde::Serialize) -> Self {
        FieldError {
            kind: FieldErrorKind::NotFound,
            field: field.clone(),
            message: format!("Not found: {}", shown(&value)),
        }
    }
}

fn shown(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|e| format!("<{e}>"))
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}
