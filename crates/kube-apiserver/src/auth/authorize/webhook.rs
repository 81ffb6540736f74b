//! `--authorization-mode=Webhook`: another server decides (`SubjectAccessReview`).

use std::time::Duration;

use api_types::selector::FieldSelector;
use apiserver::{
    authz::{Attributes, Authorizer, Decision, Rules, Verdict},
    user::UserInfo,
};
use async_trait::async_trait;
use kube_cel::{Expression, Value as Cel};
use serde_json::{Map, Value, json};

use crate::auth::remote::{Answers, Remote};

/// Answers about larger attributes are not remembered: whoever asks could fill the memory with them.
const MAX_REMEMBERED: usize = 10_000;

/// How a webhook is asked, and what its answers are worth. Of upstream's `WebhookConfiguration` and the flags.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookOptions {
    /// `v1` or `v1beta1` of `authorization.k8s.io`.
    pub version: String,
    pub authorized_ttl: Duration,
    pub unauthorized_ttl: Duration,
    pub timeout: Duration,
    /// `failurePolicy: Deny`: without an answer nothing is allowed.
    pub denies_on_error: bool,
    /// Only what all of these hold for is asked.
    pub conditions: Vec<Condition>,
}

/// An expression of `request`, the review's spec.
#[derive(Clone, Debug)]
pub struct Condition(pub Expression);

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.0.source() == other.0.source()
    }
}

/// A webhook that decides.
pub(crate) struct WebhookAuthorizer {
    remote: Remote,
    options: WebhookOptions,
    answers: Answers<Decision>,
}

// === impl WebhookAuthorizer ===

impl WebhookAuthorizer {
    pub(crate) fn new(remote: Remote, options: WebhookOptions) -> Self {
        Self { remote, options, answers: Answers::default() }
    }

    fn without_answer(&self, why: String) -> Decision {
        tracing::warn!(error = why, "an authorization webhook gave no answer");
        let verdict = if self.options.denies_on_error { Verdict::Deny } else { Verdict::NoOpinion };
        Decision { verdict, reason: String::new(), error: Some(why) }
    }
}

#[async_trait]
impl Authorizer for WebhookAuthorizer {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        let spec = spec(attributes);
        match concerns(&self.options.conditions, &spec) {
            Ok(true) => {}
            Ok(false) => return Decision::no_opinion(""),
            Err(why) => return self.without_answer(why),
        }
        let spec = set_fields(spec);
        let question = spec.to_string();
        if let Some(known) = self.answers.get(&question) {
            return known;
        }
        let api_version = format!("authorization.k8s.io/{}", self.options.version);
        let spec = if self.options.version == "v1beta1" { with_old_names(spec) } else { spec };
        let review = json!({"apiVersion": api_version, "kind": "SubjectAccessReview", "metadata": {}, "spec": spec});
        let status = match self.remote.ask(&review, self.options.timeout).await {
            Ok(mut answer) => answer["status"].take(),
            Err(why) => return self.without_answer(why),
        };
        let decision = match decision(&status) {
            Ok(decision) => decision,
            Err(why) => return self.without_answer(why),
        };
        if question.len() <= MAX_REMEMBERED {
            let allowed = decision.verdict == Verdict::Allow;
            let ttl = if allowed { self.options.authorized_ttl } else { self.options.unauthorized_ttl };
            self.answers.put(&question, decision.clone(), ttl);
        }
        decision
    }

    /// A webhook answers questions; it has no list of rules.
    async fn rules_for(&self, _user: &UserInfo, _namespace: &str) -> Rules {
        Rules { incomplete: true, ..Rules::default() }
    }
}

/// Whether all conditions hold. One that does not settles it, whatever is wrong with others.
fn concerns(conditions: &[Condition], spec: &Value) -> Result<bool, String> {
    if conditions.is_empty() {
        return Ok(true);
    }
    let scope = [("request", Cel::from_json(spec))];
    let mut wrong = Vec::new();
    for Condition(expression) in conditions {
        match expression.evaluate(scope.as_slice()).0 {
            Ok(Cel::Bool(true)) => {}
            Ok(Cel::Bool(false)) => return Ok(false),
            Ok(_) => wrong.push(format!("expression '{}' is not true or false", expression.source())),
            Err(error) => wrong.push(format!("expression '{}' resulted in error: {error}", expression.source())),
        }
    }
    if wrong.is_empty() { Ok(true) } else { Err(wrong.join("; ")) }
}

/// A review's spec with all its fields.
fn spec(of: &Attributes) -> Value {
    let user = &of.user;
    let mut spec = json!({"user": user.name, "groups": user.groups, "uid": user.uid, "extra": user.extra});
    if !of.is_resource {
        spec["nonResourceAttributes"] = json!({"path": of.path, "verb": of.verb});
        return spec;
    }
    spec["resourceAttributes"] = json!({
        "namespace": of.namespace, "verb": of.verb, "group": of.group, "version": of.version,
        "resource": of.resource, "subresource": of.subresource, "name": of.name,
    });
    if let Some(requirements) = requirements(&of.field_selector) {
        spec["resourceAttributes"]["fieldSelector"] = json!({"requirements": requirements});
    }
    spec
}

/// A field selector as reviews have it.
fn requirements(selector: &str) -> Option<Vec<Value>> {
    let selector: FieldSelector = selector.parse().ok().filter(|selector: &FieldSelector| !selector.is_everything())?;
    let one = |r: api_types::selector::FieldRequirement| json!({"key": r.field, "operator": if r.negated { "NotIn" } else { "In" }, "values": [r.value]});
    Some(selector.requirements.into_iter().map(one).collect())
}

/// Without the fields that are empty.
fn set_fields(value: Value) -> Value {
    let is_set = |value: &Value| match value {
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        other => !other.is_null(),
    };
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| (name, set_fields(value)));
            Value::Object(fields.filter(|(_, value)| is_set(value)).collect::<Map<_, _>>())
        }
        other => other,
    }
}

/// `v1beta1` calls the groups by a singular.
fn with_old_names(mut spec: Value) -> Value {
    if let Some(fields) = spec.as_object_mut()
        && let Some(groups) = fields.remove("groups")
    {
        fields.insert("group".to_owned(), groups);
    }
    spec
}

fn decision(status: &Value) -> Result<Decision, String> {
    let reason = status["reason"].as_str().unwrap_or_default();
    match (status["allowed"] == json!(true), status["denied"] == json!(true)) {
        (true, true) => Err("webhook subject access review returned both allow and deny response".to_owned()),
        (true, false) => Ok(Decision::allow(reason)),
        (false, true) => Ok(Decision::deny(reason)),
        (false, false) => Ok(Decision::no_opinion(reason)),
    }
}

#[cfg(test)]
mod tests {
    use kube_cel::{Environment, Type};

    use super::*;

    fn list() -> Attributes {
        Attributes {
            user: UserInfo::new("ann", &["dev"]),
            verb: "list".into(),
            namespace: "a".into(),
            version: "v1".into(),
            resource: "pods".into(),
            is_resource: true,
            field_selector: "spec.nodeName=n,status.phase!=Failed".into(),
            ..Attributes::default()
        }
    }

    #[test]
    fn reviews_tell_what_is_asked() {
        let expected = json!({"user": "ann", "groups": ["dev"], "resourceAttributes": {
            "namespace": "a", "verb": "list", "version": "v1", "resource": "pods", "fieldSelector": {"requirements": [
                {"key": "spec.nodeName", "operator": "In", "values": ["n"]},
                {"key": "status.phase", "operator": "NotIn", "values": ["Failed"]}]}}});
        assert_eq!(set_fields(spec(&list())), expected);
        let path = Attributes { verb: "get".into(), path: "/version".into(), ..Attributes::default() };
        let expected = json!({"nonResourceAttributes": {"path": "/version", "verb": "get"}});
        assert_eq!(set_fields(spec(&path)), expected);
        assert_eq!(with_old_names(json!({"groups": ["a"]})), json!({"group": ["a"]}));
    }

    #[test]
    fn conditions_choose_what_is_asked() {
        let environment = Environment::default().variable("request", Type::Dyn);
        let condition = |source: &&str| Condition(Expression::compile(source, &environment).unwrap());
        let asked = |sources: &[&str]| {
            let conditions: Vec<Condition> = sources.iter().map(condition).collect();
            concerns(&conditions, &spec(&list())).map_err(drop)
        };
        assert_eq!(asked(&[]), Ok(true));
        assert_eq!(
            asked(&["has(request.resourceAttributes)", "request.resourceAttributes.namespace == 'a'"]),
            Ok(true)
        );
        assert_eq!(asked(&["request.missing == 1", "!('dev' in request.groups)"]), Ok(false));
        assert_eq!(asked(&["request.missing == 1", "true"]), Err(()));
    }

    #[test]
    fn answers_are_decisions() {
        let verdict = |status: Value| decision(&status).map(|decision| decision.verdict).map_err(drop);
        assert_eq!(verdict(json!({"allowed": true})), Ok(Verdict::Allow));
        assert_eq!(verdict(json!({"allowed": false, "denied": true})), Ok(Verdict::Deny));
        assert_eq!(verdict(json!({"allowed": false, "reason": "?"})), Ok(Verdict::NoOpinion));
        assert_eq!(verdict(json!({"allowed": true, "denied": true})), Err(()));
    }
}
