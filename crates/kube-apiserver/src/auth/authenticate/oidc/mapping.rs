//! From the claims of a token to a user: names of claims, or expressions.

use std::collections::BTreeMap;

use apiserver::user::UserInfo;
use kube_cel::{EvalError, Expression, Value as Cel};
use serde_json::{Value, json};

use super::Claims;

/// Where a text, or a list of them, comes from.
#[derive(Clone, Debug)]
pub(crate) enum Claim {
    /// The claim of this name, with something before each text.
    Named { claim: String, prefix: String },
    /// An expression of `claims`.
    Computed(Expression),
}

/// What must hold for the claims.
#[derive(Clone, Debug)]
pub(crate) enum ClaimRule {
    Equals { claim: String, value: String },
    Holds { expression: Expression, message: String },
}

/// What must hold for the user, an expression of `user`.
#[derive(Clone, Debug)]
pub(crate) struct UserRule {
    pub expression: Expression,
    pub message: String,
}

/// All of it.
#[derive(Clone, Debug)]
pub(crate) struct Mapping {
    pub username: Claim,
    pub groups: Option<Claim>,
    pub uid: Option<Claim>,
    pub extra: Vec<(String, Expression)>,
    pub claim_rules: Vec<ClaimRule>,
    pub user_rules: Vec<UserRule>,
}

// === impl Mapping ===

impl Mapping {
    /// The user, or why there is none.
    pub(super) fn user(&self, claims: &Claims) -> Result<UserInfo, String> {
        let scope = [("claims", Cel::from_json(&Value::Object(claims.clone())))];
        let name = self.name(claims, &scope)?;
        let mut user = UserInfo { name, ..UserInfo::default() };
        if let Some(groups) = &self.groups {
            user.groups = groups.texts("groups", claims, &scope)?;
        }
        if let Some(uid) = &self.uid {
            user.uid = uid.text("uid", claims, &scope)?;
        }
        for (key, expression) in &self.extra {
            let values =
                texts(&value(expression, &scope)?).map_err(|e| format!("error evaluating extra {key}: {e}"))?;
            let values: Vec<String> = values.into_iter().filter(|value| !value.is_empty()).collect();
            if !values.is_empty() {
                user.extra.insert(key.clone(), values);
            }
        }
        self.claim_rules.iter().try_for_each(|rule| rule.check(claims, &scope))?;
        let scope = [("user", shown(&user))];
        for UserRule { expression, message } in &self.user_rules {
            holds(expression, &scope, "error evaluating user info validation rule", message)?;
        }
        Ok(user)
    }

    fn name(&self, claims: &Claims, scope: &Scope) -> Result<String, String> {
        let name = self.username.text("username", claims, scope)?;
        if name.is_empty() {
            return Err("username claim is empty".to_owned());
        }
        // An address that the provider says nothing of counts as verified.
        if let Claim::Named { claim, .. } = &self.username
            && claim == "email"
            && let Some(verified) = claims.get("email_verified")
            && verified != &json!(true)
        {
            return Err(match verified {
                Value::Bool(_) => "email not verified".to_owned(),
                _ => "parse 'email_verified' claim: not a boolean".to_owned(),
            });
        }
        Ok(name)
    }
}

// === impl Claim ===

type Scope = [(&'static str, Cel); 1];

impl Claim {
    fn text(&self, what: &str, claims: &Claims, scope: &Scope) -> Result<String, String> {
        match self {
            Claim::Named { claim, prefix } => match claims.get(claim) {
                None | Some(Value::Null) => Err(format!("parse {what} claims {claim:?}: claim not present")),
                Some(Value::String(text)) if text.is_empty() => Ok(String::new()),
                Some(Value::String(text)) => Ok(format!("{prefix}{text}")),
                Some(_) => Err(format!("parse {what} claims {claim:?}: not a string")),
            },
            Claim::Computed(expression) => match value(expression, scope)? {
                Value::String(text) => Ok(text),
                _ => Err(format!("error evaluating {what} claim expression: must return a string")),
            },
        }
    }

    /// None where the claim is not there.
    fn texts(&self, what: &str, claims: &Claims, scope: &Scope) -> Result<Vec<String>, String> {
        let told = |why: &str| format!("parse {what} claim: {why}");
        match self {
            Claim::Named { claim, prefix } => {
                let found = texts(claims.get(claim).unwrap_or(&Value::Null)).map_err(|why| told(&why))?;
                Ok(found.into_iter().map(|text| format!("{prefix}{text}")).collect())
            }
            Claim::Computed(expression) => texts(&value(expression, scope)?).map_err(|why| told(&why)),
        }
    }
}

impl ClaimRule {
    fn check(&self, claims: &Claims, scope: &Scope) -> Result<(), String> {
        match self {
            ClaimRule::Equals { claim, value } => match claims.get(claim) {
                None => Err(format!("required claim {claim} not present in ID token")),
                Some(found) if found.as_str() == Some(value) => Ok(()),
                Some(_) => Err(format!("required claim {claim} value does not match")),
            },
            ClaimRule::Holds { expression, message } => {
                holds(expression, scope, "error evaluating claim validation rule", message)
            }
        }
    }
}

fn value(expression: &Expression, scope: &Scope) -> Result<Value, String> {
    let value = expression.evaluate(scope.as_slice()).0;
    let told = |why: String| format!("expression '{}' resulted in error: {why}", expression.source());
    match value {
        // An optional without a value.
        Ok(Cel::Null) => Ok(Value::Null),
        Ok(value) => value.to_json().ok_or_else(|| told("the value has no JSON form".to_owned())),
        Err(error) => Err(told(EvalError::to_string(&error))),
    }
}

fn holds(expression: &Expression, scope: &Scope, what: &str, message: &str) -> Result<(), String> {
    match value(expression, scope)? {
        Value::Bool(true) => Ok(()),
        Value::Bool(false) if message.is_empty() => {
            Err(format!("{what}: validation expression '{}' failed", expression.source()))
        }
        Value::Bool(false) => Err(format!("{what}: validation expression '{}' failed: {message}", expression.source())),
        _ => Err(format!("{what}: validation expression must return a bool")),
    }
}

/// A text, a list of texts, or nothing.
fn texts(value: &Value) -> Result<Vec<String>, String> {
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| "not a string".to_owned());
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => items.iter().map(text).collect(),
        Value::String(empty) if empty.is_empty() => Ok(Vec::new()),
        one => Ok(vec![text(one)?]),
    }
}

/// The user as rules see it: all fields, also empty ones.
fn shown(user: &UserInfo) -> Cel {
    let extra: BTreeMap<&String, &Vec<String>> = user.extra.iter().collect();
    Cel::from_json(&json!({"username": user.name, "uid": user.uid, "groups": user.groups, "extra": extra}))
}

#[cfg(test)]
mod tests {
    use kube_cel::{Environment, Type};

    use super::*;

    fn of(claims: Value) -> Claims {
        claims.as_object().cloned().unwrap()
    }

    fn expression(source: &str) -> Expression {
        let environment =
            Environment::default().variable("claims", Type::map(Type::String, Type::Dyn)).variable("user", Type::Dyn);
        Expression::compile(source, &environment).unwrap()
    }

    fn named(claim: &str, prefix: &str) -> Claim {
        Claim::Named { claim: claim.to_owned(), prefix: prefix.to_owned() }
    }

    fn mapping(username: Claim) -> Mapping {
        let (claim_rules, user_rules, extra) = (Vec::new(), Vec::new(), Vec::new());
        Mapping { username, groups: Some(named("groups", "g:")), uid: None, extra, claim_rules, user_rules }
    }

    #[test]
    fn names_come_from_claims() {
        let user = |username, claims| mapping(username).user(&of(claims)).map(|user| (user.name, user.groups));
        for (username, claims, expected) in [
            (named("sub", "p:"), json!({"sub": "ann"}), Ok(("p:ann", vec![]))),
            (named("sub", ""), json!({"sub": "ann", "groups": "one"}), Ok(("ann", vec!["g:one"]))),
            (named("sub", ""), json!({"sub": "ann", "groups": ["a", "b"]}), Ok(("ann", vec!["g:a", "g:b"]))),
            (named("sub", ""), json!({"sub": "ann", "groups": [1]}), Err("parse groups claim: not a string")),
            (named("sub", ""), json!({}), Err("parse username claims \"sub\": claim not present")),
            (named("sub", ""), json!({"sub": ""}), Err("username claim is empty")),
            (named("sub", "p:"), json!({"sub": ""}), Err("username claim is empty")),
            (named("email", ""), json!({"email": "a@b"}), Ok(("a@b", vec![]))),
            (named("email", ""), json!({"email": "a@b", "email_verified": true}), Ok(("a@b", vec![]))),
            (named("email", ""), json!({"email": "a@b", "email_verified": false}), Err("email not verified")),
            (
                Claim::Computed(expression("claims.name + '@' + claims.org")),
                json!({"name": "ann", "org": "x"}),
                Ok(("ann@x", vec![])),
            ),
        ] {
            let expected = expected
                .map(|(name, groups)| (name.to_owned(), groups.into_iter().map(str::to_owned).collect::<Vec<_>>()))
                .map_err(str::to_owned);
            assert_eq!(user(username, claims.clone()), expected, "{claims}");
        }
    }

    #[test]
    fn rules_refuse_claims_and_users() {
        let mut strict = mapping(named("sub", ""));
        strict.claim_rules = vec![
            ClaimRule::Equals { claim: "hd".into(), value: "x.org".into() },
            ClaimRule::Holds { expression: expression("claims.exp - claims.iat <= 3600"), message: "too long".into() },
        ];
        strict.user_rules = vec![UserRule {
            expression: expression("!user.username.startsWith('system:')"),
            message: "reserved".into(),
        }];
        strict.extra = vec![("example.org/team".into(), expression("claims.team"))];
        let try_with = |name: &str, value: Value| {
            let mut claims = of(json!({"sub": "ann", "hd": "x.org", "exp": 10, "iat": 1, "team": ["t", ""]}));
            claims.insert(name.to_owned(), value);
            strict.user(&claims)
        };
        assert_eq!(try_with("x", Value::Null).unwrap().extra["example.org/team"], ["t"]);
        for (name, value, word) in [
            ("hd", json!("y.org"), "required claim hd value does not match"),
            ("exp", json!(9999), "too long"),
            ("sub", json!("system:admin"), "reserved"),
            ("iat", json!("text"), "resulted in error"),
        ] {
            let error = try_with(name, value).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
