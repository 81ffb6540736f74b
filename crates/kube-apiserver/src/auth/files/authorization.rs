//! `AuthorizationConfiguration`: who is asked, in which order.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use kube_cel::{Environment, Expression, Type};
use serde::Deserialize;

use crate::auth::{
    authorize::{Condition, WebhookOptions},
    config::Mode,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    authorizers: Vec<Authorizer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Authorizer {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    name: String,
    webhook: Option<Webhook>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Webhook {
    #[serde(rename = "authorizedTTL", default = "five_minutes")]
    authorized_ttl: String,
    #[serde(rename = "unauthorizedTTL", default = "half_a_minute")]
    unauthorized_ttl: String,
    timeout: String,
    #[serde(default = "yes")]
    cache_authorized_requests: bool,
    #[serde(default = "yes")]
    cache_unauthorized_requests: bool,
    subject_access_review_version: String,
    #[serde(default)]
    match_condition_subject_access_review_version: String,
    failure_policy: String,
    connection_info: ConnectionInfo,
    #[serde(default)]
    match_conditions: Vec<MatchCondition>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ConnectionInfo {
    #[serde(rename = "type")]
    kind: String,
    kube_config_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MatchCondition {
    expression: String,
}

fn five_minutes() -> String {
    "5m".to_owned()
}

fn half_a_minute() -> String {
    "30s".to_owned()
}

fn yes() -> bool {
    true
}

/// The modes that a file lists.
///
/// # Errors
/// A file that can't be read or means nothing.
pub(in crate::auth) fn read(path: &Path) -> anyhow::Result<Vec<Mode>> {
    let file: File = super::load(path, "AuthorizationConfiguration", &["v1", "v1beta1", "v1alpha1"])?;
    configure(file).with_context(|| path.display().to_string())
}

fn configure(file: File) -> anyhow::Result<Vec<Mode>> {
    ensure!(!file.authorizers.is_empty(), "authorizers: at least one authorization mode must be defined");
    let mut names = Vec::new();
    let mut modes = Vec::new();
    for (index, authorizer) in file.authorizers.into_iter().enumerate() {
        ensure!(!authorizer.name.is_empty(), "authorizers[{index}].name: Required value");
        let twice = names.contains(&authorizer.name);
        ensure!(!twice, "authorizers[{index}].name: Duplicate value: {:?}", authorizer.name);
        names.push(authorizer.name.clone());
        let mode = authorizer.configure().with_context(|| format!("authorizers[{index}]"))?;
        ensure!(!modes.contains(&mode), "authorizers[{index}].type: the mode is there twice");
        modes.push(mode);
    }
    Ok(modes)
}

impl Authorizer {
    fn configure(self) -> anyhow::Result<Mode> {
        if self.kind == "Webhook" {
            return self.webhook.context("webhook: required when type=Webhook")?.configure().context("webhook");
        }
        ensure!(self.webhook.is_none(), "webhook: may only be specified when type=Webhook");
        match self.kind.as_str() {
            "Node" => Ok(Mode::Node),
            "RBAC" => Ok(Mode::Rbac),
            "AlwaysAllow" => Ok(Mode::AlwaysAllow),
            "AlwaysDeny" => Ok(Mode::AlwaysDeny),
            "ABAC" => bail!("type: ABAC is there with --authorization-mode only"),
            other => bail!("type: Unsupported value: {other:?}"),
        }
    }
}

impl Webhook {
    fn configure(self) -> anyhow::Result<Mode> {
        let version = self.subject_access_review_version;
        ensure!(
            ["v1", "v1beta1"].contains(&version.as_str()),
            "subjectAccessReviewVersion: Unsupported value: {version:?}"
        );
        ensure!(
            self.match_conditions.is_empty() || self.match_condition_subject_access_review_version == "v1",
            "matchConditionSubjectAccessReviewVersion: must be v1 where there are matchConditions"
        );
        let denies_on_error = match self.failure_policy.as_str() {
            "NoOpinion" => false,
            "Deny" => true,
            other => bail!("failurePolicy: Unsupported value: {other:?}"),
        };
        let timeout = duration("timeout", &self.timeout)?;
        ensure!(timeout.as_secs() <= 30, "timeout: must be less than or equal to 30s");
        let info = self.connection_info;
        let kubeconfig = match (info.kind.as_str(), info.kube_config_file) {
            ("KubeConfigFile", Some(file)) => file,
            ("KubeConfigFile", None) => bail!("connectionInfo.kubeConfigFile: Required value"),
            ("InClusterConfig", _) => bail!("connectionInfo.type: InClusterConfig is not supported yet"),
            (other, _) => bail!("connectionInfo.type: Unsupported value: {other:?}"),
        };
        let (known, unknown) =
            (duration("authorizedTTL", &self.authorized_ttl)?, duration("unauthorizedTTL", &self.unauthorized_ttl)?);
        let options = WebhookOptions {
            version,
            authorized_ttl: if self.cache_authorized_requests { known } else { Default::default() },
            unauthorized_ttl: if self.cache_unauthorized_requests { unknown } else { Default::default() },
            timeout,
            denies_on_error,
            conditions: conditions(&self.match_conditions)?,
        };
        Ok(Mode::Webhook(kubeconfig, options))
    }
}

fn duration(name: &str, text: &str) -> anyhow::Result<std::time::Duration> {
    let parsed =
        component_base::duration::parse_duration(text).with_context(|| format!("{name}: {text:?} is no duration"))?;
    ensure!(!parsed.is_zero(), "{name}: must be greater than zero");
    Ok(parsed)
}

fn conditions(given: &[MatchCondition]) -> anyhow::Result<Vec<Condition>> {
    let environment = Environment::default().variable("request", review_spec());
    let compile = |(index, condition): (usize, &MatchCondition)| {
        let compiled = Expression::compile(&condition.expression, &environment)
            .map_err(|e| anyhow::anyhow!("matchConditions[{index}].expression: compilation failed: {e}"))?;
        ensure!(*compiled.ty() == Type::Bool, "matchConditions[{index}].expression: must evaluate to bool");
        Ok(Condition(compiled))
    };
    given.iter().enumerate().map(compile).collect()
}

/// The type of a review's spec.
fn review_spec() -> Type {
    let texts = Type::list(Type::String);
    let requirement = Type::object(
        "kubernetes.SelectorRequirement",
        [("key", Type::String), ("operator", Type::String), ("values", texts.clone())],
    );
    let selector = |name| Type::object(name, [("requirements", Type::list(requirement.clone()))]);
    let resource = Type::object(
        "kubernetes.ResourceAttributes",
        [
            ("namespace", Type::String),
            ("verb", Type::String),
            ("group", Type::String),
            ("version", Type::String),
            ("resource", Type::String),
            ("subresource", Type::String),
            ("name", Type::String),
            ("fieldSelector", selector("kubernetes.FieldSelectorAttributes")),
            ("labelSelector", selector("kubernetes.LabelSelectorAttributes")),
        ],
    );
    let other = Type::object("kubernetes.NonResourceAttributes", [("path", Type::String), ("verb", Type::String)]);
    Type::object(
        "kubernetes.SubjectAccessReviewSpec",
        [
            ("resourceAttributes", resource),
            ("nonResourceAttributes", other),
            ("user", Type::String),
            ("groups", texts.clone()),
            ("extra", Type::map(Type::String, texts)),
            ("uid", Type::String),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- {type: Node, name: node}
- type: Webhook
  name: opa
  webhook:
    authorizedTTL: 1m
    unauthorizedTTL: 10s
    timeout: 3s
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    failurePolicy: Deny
    connectionInfo: {type: KubeConfigFile, kubeConfigFile: /etc/opa}
    matchConditions:
    - expression: has(request.resourceAttributes)
    - expression: "!(request.user in ['system:kube-controller-manager'])"
- {type: RBAC, name: rbac}
"#;

    fn read(text: &str) -> anyhow::Result<Vec<Mode>> {
        configure(super::super::parse(text.as_bytes(), "AuthorizationConfiguration", &["v1"])?)
    }

    #[test]
    fn files_list_modes() {
        let modes = read(GOOD).unwrap();
        let [Mode::Node, Mode::Webhook(file, options), Mode::Rbac] = modes.as_slice() else { panic!("{modes:?}") };
        assert_eq!(file, Path::new("/etc/opa"));
        assert!(options.denies_on_error && options.conditions.len() == 2 && options.timeout.as_secs() == 3);
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (from, to, word) in [
            ("name: rbac", "name: node", "Duplicate value"),
            ("type: RBAC", "type: Node", "twice"),
            ("type: RBAC", "type: Rbac", "Unsupported value"),
            ("failurePolicy: Deny", "failurePolicy: Ignore", "failurePolicy"),
            ("timeout: 3s", "timeout: 31s", "less than or equal to 30s"),
            ("timeout: 3s", "timeout: 3x", "no duration"),
            (", kubeConfigFile: /etc/opa", "", "Required value"),
            ("has(request.resourceAttributes)", "request.user", "must evaluate to bool"),
            ("has(request.resourceAttributes)", "request.verb == ''", "undefined field"),
            (
                "SubjectAccessReviewVersion: v1\n    failure",
                "SubjectAccessReviewVersion: v2\n    failure",
                "must be v1",
            ),
        ] {
            let error = read(&GOOD.replace(from, to)).expect_err(to);
            assert!(format!("{error:#}").contains(word), "{to}: {error:#}");
        }
    }
}
