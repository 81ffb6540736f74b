//! Authorization: may they? The modes of `--authorization-mode` in order, after what is always allowed.

mod abac;
mod node;
mod rbac;
mod rules;
mod webhook;

use std::sync::Arc;

use apiserver::{
    authz::{Attributes, Authorizer, Decision, Rules, Verdict},
    user::{MASTERS, UserInfo},
};
use async_trait::async_trait;

pub(crate) use abac::Abac;
pub(crate) use node::{Graph, NodeAuthorizer};
pub(crate) use rbac::{Rbac, RbacAuthorizer};
pub(crate) use webhook::{Condition, WebhookAuthorizer, WebhookOptions};

/// Everything for members of `system:masters`.
pub(crate) struct Masters;

#[async_trait]
impl Authorizer for Masters {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        match attributes.user.in_group(MASTERS) {
            true => Decision::allow(""),
            false => Decision::no_opinion(""),
        }
    }

    /// Only what rules grant is told.
    async fn rules_for(&self, _user: &UserInfo, _namespace: &str) -> Rules {
        Rules::default()
    }
}

/// Paths that need no permission (`--authorization-always-allow-paths`, and health for every load balancer).
pub(crate) struct AlwaysAllowPaths(pub Vec<String>);

#[async_trait]
impl Authorizer for AlwaysAllowPaths {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        let path = attributes.path.as_str();
        let listed = |allowed: &String| match allowed.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => path == allowed,
        };
        match !attributes.is_resource && self.0.iter().any(listed) {
            true => Decision::allow(""),
            false => Decision::no_opinion(""),
        }
    }

    async fn rules_for(&self, _user: &UserInfo, _namespace: &str) -> Rules {
        Rules::default()
    }
}

/// `--authorization-mode=AlwaysAllow` or `AlwaysDeny`.
pub(crate) struct Always(pub Verdict);

#[async_trait]
impl Authorizer for Always {
    async fn authorize(&self, _attributes: &Attributes) -> Decision {
        match self.0 {
            Verdict::Allow => Decision::allow(""),
            _ => Decision::no_opinion("Everything is forbidden."),
        }
    }

    async fn rules_for(&self, _user: &UserInfo, _namespace: &str) -> Rules {
        match self.0 {
            Verdict::Allow => rules::everything(),
            _ => Rules::default(),
        }
    }
}

/// Asks one after the other; the first that has an opinion decides.
pub(crate) struct Union(pub Vec<Arc<dyn Authorizer>>);

#[async_trait]
impl Authorizer for Union {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        let (mut reasons, mut errors) = (Vec::new(), Vec::new());
        for authorizer in &self.0 {
            let decision = authorizer.authorize(attributes).await;
            if decision.verdict != Verdict::NoOpinion {
                return decision;
            }
            reasons.extend(Some(decision.reason).filter(|reason| !reason.is_empty()));
            errors.extend(decision.error);
        }
        let error = (!errors.is_empty()).then(|| errors.join("; "));
        Decision { error, ..Decision::no_opinion(reasons.join("\n")) }
    }

    async fn rules_for(&self, user: &UserInfo, namespace: &str) -> Rules {
        let mut all = Rules::default();
        for authorizer in &self.0 {
            let rules = authorizer.rules_for(user, namespace).await;
            all.resource.extend(rules.resource);
            all.non_resource.extend(rules.non_resource);
            all.incomplete |= rules.incomplete;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> Attributes {
        Attributes { verb: "get".into(), path: path.into(), ..Attributes::default() }
    }

    #[tokio::test]
    async fn the_first_opinion_decides() {
        let paths = || Arc::new(AlwaysAllowPaths(vec!["/healthz".into(), "/livez/*".into()])) as Arc<dyn Authorizer>;
        let deny = || Arc::new(Always(Verdict::NoOpinion)) as Arc<dyn Authorizer>;
        let union = Union(vec![Arc::new(Masters), paths(), deny()]);
        for (request, verdict) in [
            ("/healthz", Verdict::Allow),
            ("/livez/ping", Verdict::Allow),
            ("/healthz/etcd", Verdict::NoOpinion),
            ("/metrics", Verdict::NoOpinion),
        ] {
            assert_eq!(union.authorize(&path(request)).await.verdict, verdict, "{request}");
        }
        let root = Attributes { user: UserInfo::new("root", &[MASTERS]), ..path("/metrics") };
        assert_eq!(union.authorize(&root).await.verdict, Verdict::Allow);
        assert_eq!(union.authorize(&path("/metrics")).await.reason, "Everything is forbidden.");
    }
}
