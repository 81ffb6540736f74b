//! What a command fails with, and how that is said: upstream's sentences and exit codes.

use serde_json::Value;

/// The result of a command.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a command failed.
#[derive(Debug)]
pub enum Error {
    /// The API server's answer was a failure `Status`.
    Status(Box<Value>),
    /// Said as `error: …`.
    Plain(String),
    /// Said as it is.
    Verbatim(String),
    /// The server cannot be reached at `host:port`.
    Refused(String),
    /// The server cannot be reached for another reason.
    Unreachable(String),
    /// Several failures, each said on its own.
    Many(Vec<Error>),
    /// Ends with this code, after saying this when it is not empty.
    Exit(i32, String),
}

/// Returns early with [`Error::Plain`].
#[macro_export]
macro_rules! fail {
    ($($arg:tt)*) => { return Err($crate::error::Error::Plain(format!($($arg)*))) };
}

impl Error {
    /// Wrong use of a command: the message and where its help is.
    pub fn usage(command: &str, message: impl std::fmt::Display) -> Self {
        Error::Plain(format!("{message}\nSee 'kubectl {command} -h' for help and examples"))
    }

    /// The reason of a `Status`, or nothing for other failures.
    pub fn reason(&self) -> &str {
        match self {
            Error::Status(status) => status["reason"].as_str().unwrap_or_default(),
            _ => "",
        }
    }

    /// Whether the server said that the object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.reason() == "NotFound"
    }

    /// Whether the server said that the object changed meanwhile.
    pub fn is_conflict(&self) -> bool {
        self.reason() == "Conflict"
    }

    /// Whether the server said that the object exists.
    pub fn already_exists(&self) -> bool {
        self.reason() == "AlreadyExists"
    }

    /// Puts what was being done before the server's message, as upstream does: `error when creating "x.yaml": …`.
    pub fn during(self, verb: &str, source: &str) -> Self {
        match self {
            Error::Status(mut status) => {
                let message = status["message"].as_str().unwrap_or_default().to_owned();
                status["message"] = Value::String(format!("error when {verb} {source:?}: {message}"));
                Error::Status(status)
            }
            Error::Plain(message) => Error::Plain(format!("error when {verb} {source:?}: {message}")),
            other => other,
        }
    }

    /// One failure out of several; nothing when there is none.
    pub fn collect(mut errors: Vec<Error>) -> Result<()> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Error::Many(errors)),
        }
    }

    /// What is said on stderr (it may be nothing), and the exit code.
    pub fn report(&self) -> (String, i32) {
        match self {
            Error::Status(status) => (status_message(status), 1),
            Error::Plain(message) if message.starts_with("error: ") => (message.clone(), 1),
            Error::Plain(message) => (format!("error: {message}"), 1),
            Error::Verbatim(message) => (message.clone(), 1),
            Error::Refused(host) => (
                format!("The connection to the server {host} was refused - did you specify the right host or port?"),
                1,
            ),
            Error::Unreachable(why) => (format!("Unable to connect to the server: {why}"), 1),
            Error::Many(errors) => (errors.iter().map(|e| e.report().0).collect::<Vec<_>>().join("\n"), 1),
            Error::Exit(code, message) => (message.clone(), *code),
        }
    }
}

impl std::fmt::Display for Error {
    /// The message without the words that say where it came from.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Status(status) => f.write_str(status["message"].as_str().unwrap_or("unknown")),
            Error::Plain(message) | Error::Verbatim(message) | Error::Exit(_, message) => f.write_str(message),
            other => f.write_str(&other.report().0),
        }
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Error::Plain(error.to_string())
    }
}

fn status_message(status: &Value) -> String {
    let reason = status["reason"].as_str().unwrap_or_default();
    let message = status["message"].as_str().unwrap_or_default();
    match reason {
        "Invalid" => invalid_message(status, message),
        "Unauthorized" => format!("error: You must be logged in to the server ({message})"),
        "" => format!("Error from server: {message}"),
        _ => format!("Error from server ({reason}): {message}"),
    }
}

fn invalid_message(status: &Value, message: &str) -> String {
    let details = &status["details"];
    let (kind, name) = (details["kind"].as_str().unwrap_or_default(), details["name"].as_str().unwrap_or_default());
    // An added "error when …" is lost when the causes are listed; upstream does the same.
    let mut causes: Vec<String> = Vec::new();
    for cause in details["causes"].as_array().into_iter().flatten() {
        let line = format!(
            "{}: {}",
            cause["field"].as_str().unwrap_or_default(),
            cause["message"].as_str().unwrap_or_default()
        );
        if !causes.contains(&line) {
            causes.push(line);
        }
    }
    if details.is_null() {
        return format!("The request is invalid: {message}");
    }
    let subject = if !kind.is_empty() || !name.is_empty() {
        format!("The {kind} {name:?} is invalid")
    } else if !message.is_empty() && causes.is_empty() {
        format!("The request is invalid: {message}")
    } else {
        "The request is invalid".to_owned()
    };
    match causes.as_slice() {
        [] => subject,
        [one] => format!("{subject}: {one}"),
        many => format!("{subject}: \n* {}", many.join("\n* ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn failures_are_said_as_upstream_says_them() {
        let not_found = json!({"reason": "NotFound", "message": "pods \"x\" not found"});
        let invalid = |causes: Value| json!({"reason": "Invalid", "message": "m", "details": {"kind": "Pod", "name": "p", "causes": causes}});
        let cause = |f: &str| json!({"field": f, "message": "Required value"});
        for (error, said) in [
            (Error::Status(Box::new(not_found)), "Error from server (NotFound): pods \"x\" not found"),
            (Error::Plain("no".into()), "error: no"),
            (
                Error::Status(Box::new(invalid(json!([cause("spec")])))),
                "The Pod \"p\" is invalid: spec: Required value",
            ),
            (
                Error::Status(Box::new(invalid(json!([cause("a"), cause("b"), cause("a")])))),
                "The Pod \"p\" is invalid: \n* a: Required value\n* b: Required value",
            ),
            (
                Error::Status(Box::new(json!({"reason": "Unauthorized", "message": "Unauthorized"}))),
                "error: You must be logged in to the server (Unauthorized)",
            ),
            (
                Error::Refused("h:1".into()),
                "The connection to the server h:1 was refused - did you specify the right host or port?",
            ),
        ] {
            assert_eq!(error.report(), (said.to_owned(), 1));
        }
    }
}
