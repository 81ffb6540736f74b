//! Questions about identity and permissions as resources that can only be created: the answer is the created object.

use std::sync::Arc;

use api_types::{ApiError, FieldError, Path};
use apiserver::{
    authz::{Attributes, Authorizer, Verdict},
    user::{ALL_AUTHENTICATED, ALL_UNAUTHENTICATED, UserInfo},
};
use k8s_openapi::api::authorization::v1::{
    FieldSelectorAttributes, NonResourceAttributes, ResourceAttributes, SubjectAccessReviewSpec,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::authenticate::{TokenAuthenticator, Tokens};

/// Answers reviews.
pub struct Reviews {
    pub(super) tokens: Arc<Tokens>,
    pub(super) authorizer: Arc<dyn Authorizer>,
}

// === impl Reviews ===

impl Reviews {
    /// Answers the creation of `body` by `user`, if `resource` (with the plural name) is a review.
    pub async fn create(
        &self,
        resource: &str,
        namespace: &str,
        user: &UserInfo,
        mut body: Value,
    ) -> Result<Value, ApiError> {
        let status = match resource {
            "tokenreviews" => self.token(&mut body).await?,
            "selfsubjectreviews" => {
                let now = api_types::time::format(&component_base::clock::now());
                body["metadata"] = json!({"creationTimestamp": now});
                json!({"userInfo": user})
            }
            "subjectaccessreviews" => self.access(&body, None).await?,
            "localsubjectaccessreviews" => self.access(&body, Some(namespace)).await?,
            "selfsubjectaccessreviews" => self.own_access(&body, user).await?,
            "selfsubjectrulesreviews" => self.own_rules(&mut body, user).await?,
            other => return Err(ApiError::internal(format!("{other} is no review"))),
        };
        match body.as_object_mut() {
            Some(fields) => fields.insert("status".into(), status),
            None => return Err(ApiError::bad_request("an object is needed")),
        };
        Ok(body)
    }

    async fn token(&self, body: &mut Value) -> Result<Value, ApiError> {
        let token = body["spec"]["token"].as_str().unwrap_or_default();
        if token.is_empty() {
            return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
        }
        let asked: Vec<String> = strings(&body["spec"]["audiences"]);
        let audiences = if asked.is_empty() { &self.tokens.audiences } else { &asked };
        Ok(match self.tokens.token(token, audiences).await {
            Ok(Some(mut identity)) => {
                let user = &mut identity.user;
                if !user.in_group(ALL_AUTHENTICATED) && !user.in_group(ALL_UNAUTHENTICATED) {
                    user.groups.push(ALL_AUTHENTICATED.into());
                }
                json!({"authenticated": true, "user": identity.user, "audiences": identity.audiences})
            }
            Ok(None) => json!({"user": {}, "error": "invalid bearer token"}),
            Err(error) => json!({"user": {}, "error": error.to_string()}),
        })
    }

    async fn access(&self, body: &Value, namespace: Option<&str>) -> Result<Value, ApiError> {
        let spec: SubjectAccessReviewSpec = parse(&body["spec"])?;
        let mut errors = exactly_one(spec.resource_attributes.is_some(), spec.non_resource_attributes.as_ref());
        let path = Path::new("spec");
        let groups = spec.groups.clone().unwrap_or_default();
        if spec.user.as_deref().unwrap_or_default().is_empty() && groups.is_empty() {
            errors.push(FieldError::invalid(
                &path.child("user"),
                "",
                "at least one of user or group must be specified",
            ));
        }
        errors.extend(stray_metadata(body, namespace.is_some()));
        if let Some(namespace) = namespace {
            errors.extend(outside(&spec, namespace));
        }
        refuse_if_any(&errors)?;
        let user = UserInfo {
            name: spec.user.unwrap_or_default(),
            uid: spec.uid.unwrap_or_default(),
            groups,
            extra: spec.extra.unwrap_or_default(),
        };
        self.decide(user, spec.resource_attributes, spec.non_resource_attributes).await
    }

    async fn own_access(&self, body: &Value, user: &UserInfo) -> Result<Value, ApiError> {
        let resource: Option<ResourceAttributes> = parse(&body["spec"]["resourceAttributes"])?;
        let other: Option<NonResourceAttributes> = parse(&body["spec"]["nonResourceAttributes"])?;
        let mut errors = exactly_one(resource.is_some(), other.as_ref());
        errors.extend(stray_metadata(body, false));
        refuse_if_any(&errors)?;
        self.decide(user.clone(), resource, other).await
    }

    async fn decide(
        &self,
        user: UserInfo,
        resource: Option<ResourceAttributes>,
        other: Option<NonResourceAttributes>,
    ) -> Result<Value, ApiError> {
        let decision = self.authorizer.authorize(&attributes(user, resource, other)).await;
        let mut status = json!({"allowed": decision.verdict == Verdict::Allow});
        if decision.verdict == Verdict::Deny {
            status["denied"] = true.into();
        }
        if !decision.reason.is_empty() {
            status["reason"] = decision.reason.into();
        }
        Ok(status)
    }

    /// The answer holds nothing of the question.
    async fn own_rules(&self, body: &mut Value, user: &UserInfo) -> Result<Value, ApiError> {
        let namespace = body["spec"]["namespace"].as_str().unwrap_or_default().to_owned();
        if namespace.is_empty() {
            return Err(ApiError::bad_request("no namespace on request"));
        }
        body["metadata"] = json!({});
        body["spec"] = json!({});
        let rules = self.authorizer.rules_for(user, &namespace).await;
        Ok(json!({
            "resourceRules": rules.resource,
            "nonResourceRules": rules.non_resource,
            "incomplete": rules.incomplete,
        }))
    }
}

fn parse<T: DeserializeOwned>(value: &Value) -> Result<T, ApiError> {
    serde_json::from_value(value.clone()).map_err(|error| ApiError::bad_request(error.to_string()))
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

fn exactly_one(resource: bool, other: Option<&NonResourceAttributes>) -> Vec<FieldError> {
    let path = Path::new("spec");
    match (resource, other) {
        (true, Some(other)) => {
            let detail = "cannot be specified in combination with resourceAttributes";
            vec![FieldError::invalid(&path.child("nonResourceAttributes"), shown(other), detail)]
        }
        (false, None) => {
            let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            vec![FieldError::invalid(&path.child("resourceAttributes"), Value::Null, detail)]
        }
        _ => Vec::new(),
    }
}

/// A review is no object: only the record of owners, and the namespace of a local one, may be there.
fn stray_metadata(body: &Value, local: bool) -> Option<FieldError> {
    let allowed: &[&str] = if local { &["managedFields", "namespace"] } else { &["managedFields"] };
    let fields = body["metadata"].as_object()?;
    let stray = fields.iter().any(|(name, value)| !allowed.contains(&name.as_str()) && !value.is_null());
    let detail = if local { "must be empty except for namespace" } else { "must be empty" };
    stray.then(|| FieldError::invalid(&Path::new("metadata"), &body["metadata"], detail))
}

/// What asks for more than the namespace of a local review.
fn outside(spec: &SubjectAccessReviewSpec, namespace: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = Path::new("spec");
    if let Some(resource) = &spec.resource_attributes {
        let of = resource.namespace.as_deref().unwrap_or_default();
        if of != namespace {
            let path = path.child("resourceAttributes").child("namespace");
            errors.push(FieldError::invalid(&path, of, "must match metadata.namespace"));
        }
    }
    if let Some(other) = &spec.non_resource_attributes {
        let path = path.child("nonResourceAttributes");
        errors.push(FieldError::invalid(&path, shown(other), "disallowed on this kind of request"));
    }
    errors
}

/// As upstream's internal type prints.
fn shown(attributes: &NonResourceAttributes) -> Value {
    json!({"Path": attributes.path.as_deref().unwrap_or(""), "Verb": attributes.verb.as_deref().unwrap_or("")})
}

/// Upstream names no kind here.
fn refuse_if_any(errors: &[FieldError]) -> Result<(), ApiError> {
    match errors.is_empty() {
        true => Ok(()),
        false => Err(ApiError::invalid("authorization.k8s.io", "", "", errors)),
    }
}

fn attributes(
    user: UserInfo,
    resource: Option<ResourceAttributes>,
    other: Option<NonResourceAttributes>,
) -> Attributes {
    let other = other.unwrap_or_default();
    let Some(resource) = resource else {
        return Attributes {
            user,
            verb: other.verb.unwrap_or_default(),
            path: other.path.unwrap_or_default(),
            ..Attributes::default()
        };
    };
    Attributes {
        user,
        verb: resource.verb.unwrap_or_default(),
        namespace: resource.namespace.unwrap_or_default(),
        group: resource.group.unwrap_or_default(),
        version: resource.version.unwrap_or_default(),
        resource: resource.resource.unwrap_or_default(),
        subresource: resource.subresource.unwrap_or_default(),
        name: resource.name.unwrap_or_default(),
        is_resource: true,
        field_selector: resource.field_selector.map(selector).unwrap_or_default(),
        ..Attributes::default()
    }
}

/// The selector as text. A requirement that is not an equality is left out: that only widens what is asked for.
fn selector(given: FieldSelectorAttributes) -> String {
    let requirements = given.requirements.unwrap_or_default().into_iter().filter_map(|it| match it.values.as_deref() {
        Some([value]) if it.operator == "In" => Some(format!("{}={value}", it.key)),
        _ => None,
    });
    given.raw_selector.unwrap_or_else(|| requirements.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{
        authenticate::TokenFile,
        authorize::{AlwaysAllowPaths, Masters, Union},
    };

    fn reviews() -> Reviews {
        let file = TokenFile::parse("t,ann,u,system:masters").unwrap();
        let authorizers: Vec<Arc<dyn Authorizer>> =
            vec![Arc::new(Masters), Arc::new(AlwaysAllowPaths(vec!["/healthz".into()]))];
        Reviews {
            tokens: Arc::new(Tokens { kinds: vec![Arc::new(file)], audiences: vec!["api".into()] }),
            authorizer: Arc::new(Union(authorizers)),
        }
    }

    async fn status(resource: &str, namespace: &str, spec: Value) -> Result<Value, String> {
        let user = UserInfo::new("bob", &[]);
        let answer = reviews().create(resource, namespace, &user, json!({"spec": spec})).await;
        answer.map(|body| body["status"].clone()).map_err(|error| error.message)
    }

    #[tokio::test]
    async fn token_reviews() {
        let good = status("tokenreviews", "", json!({"token": "t"})).await.unwrap();
        assert_eq!(good["authenticated"], true);
        assert_eq!(good["audiences"], json!(["api"]));
        assert_eq!(good["user"]["groups"], json!(["system:masters", "system:authenticated"]));
        let bad = status("tokenreviews", "", json!({"token": "x"})).await.unwrap();
        assert_eq!(bad, json!({"user": {}, "error": "invalid bearer token"}));
        assert!(status("tokenreviews", "", json!({})).await.is_err());
    }

    #[tokio::test]
    async fn access_reviews() {
        let pods = |namespace: &str| json!({"verb": "list", "resource": "pods", "namespace": namespace});
        let root = json!({"user": "root", "groups": ["system:masters"], "resourceAttributes": pods("a")});
        assert_eq!(status("subjectaccessreviews", "", root.clone()).await.unwrap(), json!({"allowed": true}));
        assert_eq!(status("localsubjectaccessreviews", "a", root.clone()).await.unwrap(), json!({"allowed": true}));
        let elsewhere = status("localsubjectaccessreviews", "b", root).await.unwrap_err();
        assert!(
            elsewhere.contains("spec.resourceAttributes.namespace: Invalid value: \"a\": must match"),
            "{elsewhere}"
        );
        let own = json!({"resourceAttributes": pods("a")});
        assert_eq!(status("selfsubjectaccessreviews", "", own).await.unwrap(), json!({"allowed": false}));
        let path = json!({"nonResourceAttributes": {"verb": "get", "path": "/healthz"}});
        assert_eq!(status("selfsubjectaccessreviews", "", path).await.unwrap(), json!({"allowed": true}));
        let nothing = status("selfsubjectaccessreviews", "", json!({})).await.unwrap_err();
        assert!(nothing.contains("exactly one of nonResourceAttributes or resourceAttributes"), "{nothing}");
        let nobody = status("subjectaccessreviews", "", json!({"resourceAttributes": pods("a")})).await.unwrap_err();
        assert!(nobody.contains("at least one of user or group must be specified"), "{nobody}");
    }
}
