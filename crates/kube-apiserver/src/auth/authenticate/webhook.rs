//! `--authentication-token-webhook-config-file`: a webhook says whose token it is (`TokenReview`).

use std::time::Duration;

use apiserver::{authn::AuthenticationError, user::UserInfo};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::{TokenAuthenticator, TokenIdentity};
use crate::auth::remote::{Answers, Remote};

/// How long the webhook may take for one answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Tokens that a webhook knows.
pub(crate) struct TokenWebhook {
    remote: Remote,
    /// `v1` or `v1beta1` of `authentication.k8s.io`.
    version: String,
    /// The audiences of the API server itself: webhooks that say nothing about audiences speak for these.
    own: Vec<String>,
    time_to_live: Duration,
    answers: Answers<Option<TokenIdentity>>,
}

// === impl TokenWebhook ===

impl TokenWebhook {
    pub(crate) fn new(remote: Remote, version: &str, own: Vec<String>, time_to_live: Duration) -> Self {
        Self { remote, version: version.to_owned(), own, time_to_live, answers: Answers::default() }
    }
}

#[async_trait]
impl TokenAuthenticator for TokenWebhook {
    async fn token(&self, token: &str, audiences: &[String]) -> Result<Option<TokenIdentity>, AuthenticationError> {
        let mut spec = json!({"token": token});
        if !audiences.is_empty() {
            spec["audiences"] = audiences.into();
        }
        let question = spec.to_string();
        if let Some(known) = self.answers.get(&question) {
            return Ok(known);
        }
        let api_version = format!("authentication.k8s.io/{}", self.version);
        let review = json!({"apiVersion": api_version, "kind": "TokenReview", "metadata": {}, "spec": spec});
        let answer = self.remote.ask(&review, TIMEOUT).await.map_err(AuthenticationError)?;
        let identity = identity(&answer["status"], audiences, &self.own).map_err(AuthenticationError)?;
        self.answers.put(&question, identity.clone(), self.time_to_live);
        Ok(identity)
    }
}

/// Whose token it is, as the review's status says; an error only where the token is not known.
fn identity(status: &Value, asked: &[String], own: &[String]) -> Result<Option<TokenIdentity>, String> {
    if status["authenticated"] != json!(true) {
        return match status["error"].as_str().unwrap_or_default() {
            "" => Ok(None),
            why => Err(why.to_owned()),
        };
    }
    let user: UserInfo = match &status["user"] {
        Value::Null => UserInfo::default(),
        user => serde_json::from_value(user.clone()).map_err(|e| format!("the webhook's user: {e}"))?,
    };
    let told: Vec<String> =
        status["audiences"].as_array().into_iter().flatten().filter_map(|a| a.as_str().map(str::to_owned)).collect();
    let meant_for = if told.is_empty() { own } else { &told };
    let audiences: Vec<String> = asked.iter().filter(|audience| meant_for.contains(audience)).cloned().collect();
    if audiences.is_empty() && !asked.is_empty() {
        return Ok(None);
    }
    Ok(Some(TokenIdentity { user, audiences }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_tell_whose_token_it_is() {
        let (own, asked) = (["api".to_owned()], ["api".to_owned(), "vault".to_owned()]);
        let found = |status: Value, asked: &[String]| {
            identity(&status, asked, &own).map(|found| found.map(|found| (found.user.name, found.audiences)))
        };
        let ann = |audiences: &[&str]| {
            Ok(Some(("ann".to_owned(), audiences.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>())))
        };
        let good =
            |audiences: Value| json!({"authenticated": true, "user": {"username": "ann"}, "audiences": audiences});
        assert_eq!(found(good(Value::Null), &asked), ann(&["api"]));
        assert_eq!(found(good(json!(["vault", "x"])), &asked), ann(&["vault"]));
        assert_eq!(found(good(json!(["x"])), &asked), Ok(None));
        assert_eq!(found(good(Value::Null), &[]), ann(&[]));
        assert_eq!(found(json!({"authenticated": false}), &asked), Ok(None));
        assert_eq!(found(json!({"error": "expired"}), &asked), Err("expired".to_owned()));
    }
}
