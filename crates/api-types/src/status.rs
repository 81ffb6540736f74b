//! Errors as the API answers them: upstream's `metav1.Status`.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::FieldError;

/// One entry of `Status.details.causes`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    pub reason: String,
    pub message: String,
    pub field: String,
}

/// `Status.details`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    pub name: String,
    pub group: String,
    /// For historical reasons the plural resource name, except in validation errors (the kind).
    pub kind: String,
    pub uid: String,
    pub causes: Vec<Cause>,
    pub retry_after_seconds: u32,
}

/// A failure that a client is told about. Internal detail (sources, backtraces) stays in logs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// HTTP status code.
    pub code: u16,
    /// `NotFound`, `Conflict`, ... (or what a webhook says); empty for unknown.
    pub reason: Cow<'static, str>,
    pub message: String,
    pub details: Option<Box<Details>>,
    /// Goes into `metadata.continue`: where an expired list may go on. Usually empty.
    pub continue_token: String,
}

/// `pods` or `deployments.apps`.
fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

impl ApiError {
    pub fn new(code: u16, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        ApiError { code, reason: reason.into(), message: message.into(), details: None, continue_token: String::new() }
    }

    fn about(code: u16, reason: &'static str, group: &str, kind: &str, name: &str, message: String) -> Self {
        let details =
            Details { name: name.to_owned(), group: group.to_owned(), kind: kind.to_owned(), ..Details::default() };
        ApiError { details: Some(Box::new(details)), ..ApiError::new(code, reason, message) }
    }

    /// The details, made when there are none.
    pub fn details_mut(&mut self) -> &mut Details {
        self.details.get_or_insert_default()
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        ApiError::new(400, "BadRequest", message)
    }

    pub fn unauthorized() -> Self {
        ApiError::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403 for an action on a resource; `message` is what follows `... is forbidden: `.
    pub fn forbidden(group: &str, resource: &str, name: &str, message: &str) -> Self {
        let text = match (resource, name) {
            ("", "") => format!("forbidden: {message}"),
            (_, "") => format!("{} is forbidden: {message}", qualified(group, resource)),
            _ => format!("{} \"{name}\" is forbidden: {message}", qualified(group, resource)),
        };
        ApiError::about(403, "Forbidden", group, resource, name, text)
    }

    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", qualified(group, resource));
        ApiError::about(404, "NotFound", group, resource, name, message)
    }

    /// 404 for a path that leads to no resource.
    pub fn no_such_path() -> Self {
        let mut error = ApiError::new(404, "NotFound", "the server could not find the requested resource");
        error.details_mut();
        error
    }

    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        let mut error = ApiError::new(405, "MethodNotAllowed", message);
        error.details_mut();
        error
    }

    pub fn not_acceptable(message: impl Into<String>) -> Self {
        ApiError::new(406, "NotAcceptable", message)
    }

    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", qualified(group, resource));
        ApiError::about(409, "AlreadyExists", group, resource, name, message)
    }

    /// 409; `why` follows `Operation cannot be fulfilled on ...: `.
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", qualified(group, resource));
        ApiError::about(409, "Conflict", group, resource, name, message)
    }

    /// 409 because the object's resource version is no longer the one that the client saw.
    pub fn modified(group: &str, resource: &str, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        ApiError::conflict(group, resource, name, why)
    }

    /// 410: a resource version or continue token that is no longer served.
    pub fn expired(message: impl Into<String>) -> Self {
        ApiError::new(410, "Expired", message)
    }

    pub fn too_large(limit: usize) -> Self {
        ApiError::new(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {limit}"))
    }

    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        ApiError::new(415, "UnsupportedMediaType", message)
    }

    /// 422 with a cause per error, in upstream's words.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        // Upstream's causes may repeat themselves; its message does not.
        let mut texts: Vec<String> = Vec::new();
        for text in errors.iter().map(ToString::to_string) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let list = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("{} \"{name}\" is invalid: {list}", qualified(group, kind));
        let mut error = ApiError::about(422, "Invalid", group, kind, name, message);
        error.details_mut().causes = errors
            .iter()
            .map(|e| Cause {
                reason: e.kind.reason().to_owned(),
                message: e.message.clone(),
                field: e.field.to_string(),
            })
            .collect();
        error
    }

    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        let mut error = ApiError::new(429, "TooManyRequests", message);
        error.details_mut().retry_after_seconds = retry_after_seconds;
        error
    }

    /// 500; `message` is shown to the client, as upstream does.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        let text = message.to_string();
        let mut error = ApiError::new(500, "InternalError", format!("Internal error occurred: {text}"));
        error.details_mut().causes = vec![Cause { message: text, ..Cause::default() }];
        error
    }

    pub fn service_unavailable(message: impl Into<String>) -> Self {
        ApiError::new(503, "ServiceUnavailable", message)
    }

    pub fn timeout(message: impl std::fmt::Display, retry_after_seconds: u32) -> Self {
        let mut error = ApiError::new(504, "Timeout", format!("Timeout: {message}"));
        error.details_mut().retry_after_seconds = retry_after_seconds;
        error
    }

    pub fn is_not_found(&self) -> bool {
        self.reason == "NotFound"
    }

    pub fn is_conflict(&self) -> bool {
        self.reason == "Conflict"
    }

    /// The `Status` object.
    pub fn to_status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message, "code": self.code,
        });
        if let Value::Object(map) = &mut status {
            if !self.reason.is_empty() {
                map.insert("reason".to_owned(), self.reason.as_ref().into());
            }
            if !self.continue_token.is_empty() {
                map.insert("metadata".to_owned(), json!({ "continue": self.continue_token }));
            }
            if let Some(details) = &self.details {
                map.insert("details".to_owned(), details.to_value());
            }
        }
        status
    }
}

fn put(map: &mut Map<String, Value>, name: &str, text: &str) {
    if !text.is_empty() {
        map.insert(name.to_owned(), text.into());
    }
}

impl Details {
    fn to_value(&self) -> Value {
        let mut map = Map::new();
        put(&mut map, "name", &self.name);
        put(&mut map, "group", &self.group);
        put(&mut map, "kind", &self.kind);
        put(&mut map, "uid", &self.uid);
        if !self.causes.is_empty() {
            map.insert("causes".to_owned(), self.causes.iter().map(Cause::to_value).collect());
        }
        if self.retry_after_seconds > 0 {
            map.insert("retryAfterSeconds".to_owned(), self.retry_after_seconds.into());
        }
        Value::Object(map)
    }
}

impl Cause {
    fn to_value(&self) -> Value {
        let mut map = Map::new();
        put(&mut map, "reason", &self.reason);
        put(&mut map, "message", &self.message);
        put(&mut map, "field", &self.field);
        Value::Object(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Path;

    #[test]
    fn statuses_have_upstreams_words() {
        let error = ApiError::not_found("apps", "deployments", "x");
        assert_eq!(error.message, "deployments.apps \"x\" not found");
        let errors = [FieldError::required(&Path::new("spec"), "")];
        let error = ApiError::invalid("", "Pod", "p", &errors);
        assert_eq!(error.message, "Pod \"p\" is invalid: spec: Required value");
        assert_eq!(error.to_status()["details"]["causes"][0]["reason"], "FieldValueRequired");
        assert!(ApiError::forbidden("", "pods", "", "no").message.starts_with("pods is forbidden"));
    }
}
