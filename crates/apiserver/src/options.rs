//! `ListOptions`, `CreateOptions`, `UpdateOptions`, `PatchOptions` and `DeleteOptions`: read from the query (deletions: also
//! from the body) and validated as upstream does.

use api_types::{FieldError, Path};
use serde_json::Value;

use crate::{
    error::{Error, Result},
    query::Query,
};

/// What happens to unknown and duplicate fields of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// The options of create, update and patch.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    pub dry_run: bool,
    /// As given; the writer's user agent stands in when empty.
    pub field_manager: String,
    pub field_validation: FieldValidation,
    /// Only for apply.
    pub force: bool,
}

impl WriteOptions {
    /// Reads the options; `kind` names them in errors (`CreateOptions`, ...).
    pub fn parse(query: &Query, kind: &str) -> Result<WriteOptions> {
        let mut errors = Vec::new();
        let dry_run = parse_dry_run(query.all("dryRun").map(str::to_owned).collect(), &mut errors);
        let field_manager = query.text("fieldManager").to_owned();
        if field_manager.len() > 128 {
            errors.push(FieldError::too_long(&Path::new("fieldManager"), 128));
        }
        let field_validation = match query.text("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                let supported = ["", "Ignore", "Strict", "Warn"];
                errors.push(FieldError::not_supported(&Path::new("fieldValidation"), other, &supported));
                FieldValidation::Warn
            }
        };
        refuse(kind, &errors)?;
        Ok(WriteOptions { dry_run, field_manager, field_validation, force: query.flag("force") })
    }
}

/// How dependents of a deleted object fare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Orphan,
    Background,
    Foreground,
}

#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    pub dry_run: bool,
    pub grace_period: Option<i64>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    /// `None`: the kind's default.
    pub propagation: Option<Propagation>,
    /// The older form of `propagation`.
    pub orphan_dependents: Option<bool>,
    pub ignore_store_read_error: bool,
}

impl DeleteOptions {
    /// Reads the options from the decoded body, or from the query when there is no body.
    pub fn parse(body: Option<&Value>, query: &Query) -> Result<DeleteOptions> {
        let from_body = |field: &str| body.and_then(|b| b.get(field)).filter(|v| !v.is_null());
        let dry_run = match body {
            Some(_) => crate::meta::strings(from_body("dryRun")),
            None => query.all("dryRun").map(str::to_owned).collect(),
        };
        let propagation = match body {
            Some(_) => from_body("propagationPolicy").and_then(Value::as_str),
            None => query.first("propagationPolicy"),
        };
        let orphan = match body {
            Some(_) => from_body("orphanDependents").and_then(Value::as_bool),
            None => query.first("orphanDependents").map(|_| query.flag("orphanDependents")),
        };
        let grace = match body {
            Some(_) => from_body("gracePeriodSeconds").and_then(Value::as_i64),
            None => query.integer("gracePeriodSeconds"),
        };
        let precondition = |field: &str| {
            let text = from_body("preconditions")?.get(field)?.as_str()?;
            Some(text.to_owned())
        };
        let mut errors = Vec::new();
        let options = DeleteOptions {
            dry_run: parse_dry_run(dry_run, &mut errors),
            grace_period: grace,
            uid: precondition("uid"),
            resource_version: precondition("resourceVersion"),
            propagation: parse_propagation(propagation, orphan, &mut errors),
            orphan_dependents: orphan,
            ignore_store_read_error: from_body("ignoreStoreReadErrorWithClusterBreakingPotential")
                == Some(&Value::Bool(true)),
        };
        refuse("DeleteOptions", &errors)?;
        Ok(options)
    }
}

fn parse_propagation(policy: Option<&str>, orphan: Option<bool>, errors: &mut Vec<FieldError>) -> Option<Propagation> {
    let path = Path::new("propagationPolicy");
    if policy.is_some() && orphan.is_some() {
        let detail = "orphanDependents and deletionPropagation cannot be both set";
        errors.push(FieldError::invalid(&path, policy, detail));
    }
    match policy {
        None => None,
        Some("Orphan") => Some(Propagation::Orphan),
        Some("Background") => Some(Propagation::Background),
        Some("Foreground") => Some(Propagation::Foreground),
        Some(other) => {
            errors.push(FieldError::not_supported(&path, other, &["Foreground", "Background", "Orphan", "nil"]));
            None
        }
    }
}

fn parse_dry_run(values: Vec<String>, errors: &mut Vec<FieldError>) -> bool {
    if values.iter().any(|v| v != "All") {
        errors.push(FieldError::not_supported(&Path::new("dryRun"), &values, &["All"]));
    }
    !values.is_empty()
}

fn refuse(kind: &str, errors: &[FieldError]) -> Result<()> {
    if errors.is_empty() { Ok(()) } else { Err(Error::invalid("meta.k8s.io", kind, "", errors)) }
}

/// How `resourceVersion` is meant in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtVersion {
    /// Not given: everything acknowledged before the request is seen.
    Newest,
    /// "0": whatever is at hand.
    Any,
    NotOlderThan(u64),
    Exact(u64),
}

#[derive(Clone, Debug)]
pub struct ListOptions {
    pub labels: String,
    pub fields: String,
    pub at: AtVersion,
    pub limit: usize,
    pub continue_token: String,
    pub watch: bool,
    pub allow_bookmarks: bool,
    pub send_initial_events: Option<bool>,
    pub timeout_seconds: Option<u64>,
}

impl ListOptions {
    pub fn parse(query: &Query, watch: bool) -> Result<ListOptions> {
        let version = query.text("resourceVersion");
        let how = query.text("resourceVersionMatch");
        let send_initial_events = query.first("sendInitialEvents").map(|_| query.flag("sendInitialEvents"));
        refuse("ListOptions", &check_versions(query, version, how, watch, send_initial_events))?;
        let continue_token = query.text("continue").to_owned();
        if !continue_token.is_empty() && !version.is_empty() && version != "0" {
            return Err(Error::bad_request("specifying resource version is not allowed when using continue"));
        }
        let number = match version {
            "" => 0,
            text => text.parse().map_err(|_| invalid_version(text))?,
        };
        let at = match (version, how) {
            ("", _) => AtVersion::Newest,
            ("0", _) => AtVersion::Any,
            (_, "Exact") => AtVersion::Exact(number),
            (_, "") if query.integer("limit").unwrap_or(0) > 0 && !watch => AtVersion::Exact(number),
            _ => AtVersion::NotOlderThan(number),
        };
        Ok(ListOptions {
            labels: query.text("labelSelector").to_owned(),
            fields: query.text("fieldSelector").to_owned(),
            at,
            limit: query.integer("limit").and_then(|l| usize::try_from(l).ok()).unwrap_or(0),
            continue_token,
            watch,
            allow_bookmarks: query.flag("allowWatchBookmarks"),
            send_initial_events,
            timeout_seconds: query.integer("timeoutSeconds").and_then(|t| u64::try_from(t).ok()).filter(|t| *t > 0),
        })
    }
}

fn invalid_version(text: &str) -> Error {
    Error::bad_request(format!(
        "invalid resource version: resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax"
    ))
}

fn check_versions(query: &Query, version: &str, how: &str, watch: bool, initial: Option<bool>) -> Vec<FieldError> {
    let path = Path::new("resourceVersionMatch");
    let mut errors = Vec::new();
    if watch {
        if initial.is_some() && how != "NotOlderThan" {
            let detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            errors.push(FieldError::forbidden(&path, detail));
        } else if initial.is_none() && !how.is_empty() {
            errors.push(FieldError::forbidden(
                &path,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        return errors;
    }
    if initial.is_some() {
        errors.push(FieldError::forbidden(&Path::new("sendInitialEvents"), "sendInitialEvents is forbidden for list"));
    }
    if how.is_empty() {
        return errors;
    }
    if version.is_empty() {
        errors
            .push(FieldError::forbidden(&path, "resourceVersionMatch is forbidden unless resourceVersion is provided"));
    }
    if !query.text("continue").is_empty() {
        errors.push(FieldError::forbidden(&path, "resourceVersionMatch is forbidden when continue is provided"));
    }
    match how {
        "NotOlderThan" => {}
        "Exact" if version == "0" => {
            errors.push(FieldError::forbidden(
                &path,
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
        "Exact" => {}
        other => errors.push(FieldError::not_supported(&path, other, &["Exact", "NotOlderThan", ""])),
    }
    errors
}
