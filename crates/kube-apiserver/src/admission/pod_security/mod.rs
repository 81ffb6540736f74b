//! PodSecurity: pods keep to the standard (`privileged`, `baseline`, `restricted`) that their namespace's labels ask for.
//!
//! `enforce` refuses pods; `warn` and `audit` only tell the client and the audit log, also about the pod templates of workloads.

mod checks;

use apiserver::{
    admission::{Attributes, Operation, Plugin},
    audit,
    error::{Error, Result},
    meta,
};
use async_trait::async_trait;
use serde_json::Value;

use super::configuration::PodSecurityDefaults;
use crate::cell::CoreCell;

const LABEL: &str = "pod-security.kubernetes.io/";

/// How much a pod may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Level> {
        match text {
            "privileged" => Some(Level::Privileged),
            "baseline" => Some(Level::Baseline),
            "restricted" => Some(Level::Restricted),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        }
    }
}

/// Kinds with a pod template, and where it is.
const TEMPLATES: [(&str, &str, &str); 8] = [
    ("", "replicationcontrollers", "/spec/template"),
    ("", "podtemplates", "/template"),
    ("apps", "deployments", "/spec/template"),
    ("apps", "daemonsets", "/spec/template"),
    ("apps", "replicasets", "/spec/template"),
    ("apps", "statefulsets", "/spec/template"),
    ("batch", "jobs", "/spec/template"),
    ("batch", "cronjobs", "/spec/jobTemplate/spec/template"),
];

pub(super) struct PodSecurity {
    pub(super) cell: CoreCell,
    pub(super) configuration: PodSecurityDefaults,
}

impl PodSecurity {
    /// Whether nothing is asked of this pod.
    fn is_exempt(&self, attributes: &Attributes<'_>, pod: &Value) -> bool {
        let exemptions = &self.configuration.exemptions;
        let class = meta::path_text(pod, "spec.runtimeClassName");
        exemptions.usernames.contains(&attributes.user.name)
            || exemptions.namespaces.iter().any(|n| n == attributes.namespace)
            || exemptions.runtime_classes.contains(&class)
    }

    /// The level and version of a mode: the namespace's labels, or else the defaults. A level that can't be read is the
    /// strictest, as upstream.
    fn wanted(&self, namespace: &Value, mode: &str) -> (Level, String) {
        let labels = meta::get(namespace, "labels");
        let label = |name: &str| labels.and_then(|l| l.get(format!("{LABEL}{name}"))).and_then(Value::as_str);
        let default = |name: &str| self.configuration.defaults.get(name).map(String::as_str);
        let level = match label(mode).or_else(|| default(mode)) {
            None => Level::Privileged,
            Some(text) => Level::parse(text).unwrap_or(Level::Restricted),
        };
        let version = format!("{mode}-version");
        let version = label(&version).or_else(|| default(&version)).unwrap_or("latest");
        (level, version.to_owned())
    }
}

#[async_trait]
impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
        let resource = attributes.resource;
        let pods = resource.group.is_empty()
            && resource.plural == "pods"
            && matches!(attributes.subresource, "" | "ephemeralcontainers");
        writes && (pods || attributes.is("", "namespaces") || template_of(attributes).is_some())
    }

    async fn validate(&self, attributes: &Attributes<'_>, object: &Value) -> Result<()> {
        if attributes.resource.plural == "namespaces" {
            return check_labels(object);
        }
        let spec_of = |v: &Value| v.get("spec").cloned();
        if attributes.old.is_some_and(|old| spec_of(old) == spec_of(object)) {
            return Ok(());
        }
        let found = self.cell.find("", "namespaces", "", attributes.namespace).await?;
        let Some(namespace) = found else { return Ok(()) };
        let (pod, enforced) = match template_of(attributes) {
            Some(path) => (object.pointer(path), false),
            None => (Some(object), true),
        };
        let Some(pod) = pod.filter(|pod| !self.is_exempt(attributes, pod)) else { return Ok(()) };
        let (enforce, enforce_version) = self.wanted(&namespace, "enforce");
        let (warn, warn_version) = self.wanted(&namespace, "warn");
        let violations = checks::violations(enforce, pod);
        if enforced && !violations.is_empty() {
            let why =
                format!("violates PodSecurity \"{}:{enforce_version}\": {}", enforce.name(), violations.join(", "));
            return Err(attributes.forbidden(&why));
        }
        if enforced {
            audit::annotate(&format!("{LABEL}enforce-policy"), &format!("{}:{enforce_version}", enforce.name()));
        }
        if audit::is_on() {
            let (level, version) = self.wanted(&namespace, "audit");
            let violations = checks::violations(level, pod);
            if !violations.is_empty() {
                let what =
                    format!("would violate PodSecurity \"{}:{version}\": {}", level.name(), violations.join(", "));
                audit::annotate(&format!("{LABEL}audit-violations"), &what);
            }
        }
        let violations = checks::violations(warn, pod);
        if !violations.is_empty() {
            let level = warn.name();
            attributes
                .warnings
                .add(format!("would violate PodSecurity \"{level}:{warn_version}\": {}", violations.join(", ")));
        }
        Ok(())
    }
}

fn template_of(attributes: &Attributes<'_>) -> Option<&'static str> {
    TEMPLATES.iter().find(|(group, plural, _)| attributes.is(group, plural)).map(|(_, _, path)| *path)
}

/// A namespace's labels name levels that there are.
fn check_labels(namespace: &Value) -> Result<()> {
    let labels = meta::get(namespace, "labels").and_then(Value::as_object);
    let mut errors = Vec::new();
    for mode in ["enforce", "audit", "warn"] {
        let key = format!("{LABEL}{mode}");
        let Some(text) = labels.and_then(|l| l.get(&key)).and_then(Value::as_str) else { continue };
        if Level::parse(text).is_none() {
            let path = api_types::Path::new("metadata").child("labels").key(&key);
            let why = "must be one of privileged, baseline, restricted";
            errors.push(api_types::FieldError::invalid(&path, text, why));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Error::invalid("", "Namespace", meta::name(namespace), &errors)) }
}
