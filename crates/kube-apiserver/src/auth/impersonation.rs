//! `Impersonate-*` headers: acting as somebody else, if one may `impersonate` them.

use api_types::ApiError;
use apiserver::{
    authz::{Attributes, Authorizer, Verdict},
    user::{ALL_AUTHENTICATED, ALL_UNAUTHENTICATED, ANONYMOUS, UserInfo},
};
use http::{HeaderMap, HeaderName, request::Parts};
use percent_encoding::percent_decode_str;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// Whom the request asks to be, after the check that `user` may be them; `None` if it does not ask. The headers are taken
/// out of the request.
pub async fn impersonate(
    authorizer: &dyn Authorizer,
    user: &UserInfo,
    request: &mut Parts,
) -> Result<Option<UserInfo>, ApiError> {
    let Some(wanted) = wanted(&mut request.headers)? else { return Ok(None) };
    for check in checks(user, &wanted) {
        let decision = authorizer.authorize(&check).await;
        if decision.verdict != Verdict::Allow {
            return Err(refused(&check, &decision.reason));
        }
    }
    Ok(Some(complete(wanted)))
}

/// Whom the headers name, without the groups that everybody has.
fn wanted(headers: &mut HeaderMap) -> Result<Option<UserInfo>, ApiError> {
    let mut wanted = UserInfo {
        name: take(headers, USER).pop().unwrap_or_default(),
        uid: take(headers, UID).pop().unwrap_or_default(),
        groups: take(headers, GROUP),
        ..UserInfo::default()
    };
    let names: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with(EXTRA)).cloned().collect();
    for name in names {
        let key = percent_decode_str(&name.as_str()[EXTRA.len()..]).decode_utf8_lossy().into_owned();
        let values = take(headers, name.as_str());
        wanted.extra.entry(key).or_default().extend(values);
    }
    if wanted == UserInfo::default() {
        return Ok(None);
    }
    if wanted.name.is_empty() {
        return Err(ApiError::internal(
            "requested [groups, uid or extra] without impersonating a user name: Impersonate-User is needed",
        ));
    }
    Ok(Some(wanted))
}

fn take(headers: &mut HeaderMap, name: &str) -> Vec<String> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok().map(str::to_owned)).collect();
    headers.remove(name);
    values
}

fn service_account(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')
}

/// What `user` must be allowed, one request each.
fn checks(user: &UserInfo, wanted: &UserInfo) -> Vec<Attributes> {
    let check = |group: &str, resource: &str, name: &str| Attributes {
        user: user.clone(),
        verb: "impersonate".into(),
        group: group.into(),
        version: "v1".into(),
        resource: resource.into(),
        name: name.into(),
        is_resource: true,
        ..Attributes::default()
    };
    let mut checks = vec![match service_account(&wanted.name) {
        Some((namespace, name)) => Attributes { namespace: namespace.into(), ..check("", "serviceaccounts", name) },
        None => check("", "users", &wanted.name),
    }];
    checks.extend(wanted.groups.iter().map(|group| check("", "groups", group)));
    for (key, values) in &wanted.extra {
        let extra = values.iter().map(|value| Attributes {
            subresource: key.clone(),
            ..check("authentication.k8s.io", "userextras", value)
        });
        checks.extend(extra);
    }
    if !wanted.uid.is_empty() {
        checks.push(check("authentication.k8s.io", "uids", &wanted.uid));
    }
    checks
}

/// Adds the groups that go without saying.
fn complete(mut user: UserInfo) -> UserInfo {
    if user.groups.is_empty()
        && let Some((namespace, _)) = service_account(&user.name)
    {
        user.groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
    }
    let everybody = if user.name == ANONYMOUS { ALL_UNAUTHENTICATED } else { ALL_AUTHENTICATED };
    if !user.in_group(ALL_AUTHENTICATED) && !user.in_group(ALL_UNAUTHENTICATED) {
        user.groups.push(everybody.into());
    }
    user
}

fn refused(check: &Attributes, reason: &str) -> ApiError {
    let place = match check.namespace.as_str() {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace \"{namespace}\""),
    };
    let resource = match check.subresource.as_str() {
        "" => check.resource.clone(),
        subresource => format!("{}/{subresource}", check.resource),
    };
    let mut message = format!(
        "User \"{}\" cannot impersonate resource \"{resource}\" in API group \"{}\" {place}",
        check.user.name, check.group
    );
    if !reason.is_empty() {
        message = format!("{message}: {reason}");
    }
    ApiError::forbidden(&check.group, &check.resource, &check.name, &message)
}

#[cfg(test)]
mod tests {
    use apiserver::authz::Decision;
    use async_trait::async_trait;

    use super::*;

    /// Lets `boss` be anyone but members of `system:masters`.
    struct Rule;

    #[async_trait]
    impl Authorizer for Rule {
        async fn authorize(&self, asked: &Attributes) -> Decision {
            assert_eq!(asked.verb, "impersonate");
            match asked.user.name == "boss" && asked.name != "system:masters" {
                true => Decision::allow(""),
                false => Decision::no_opinion(""),
            }
        }
    }

    async fn run(user: &str, headers: &[(&'static str, &str)]) -> Result<Option<UserInfo>, ApiError> {
        let mut parts = http::Request::new(()).into_parts().0;
        for (name, value) in headers {
            parts.headers.append(*name, value.parse().unwrap());
        }
        let result = impersonate(&Rule, &UserInfo::new(user, &[]), &mut parts).await;
        assert!(parts.headers.is_empty(), "{:?}", parts.headers);
        result
    }

    #[tokio::test]
    async fn users_groups_and_extras() {
        assert_eq!(run("boss", &[]).await.unwrap(), None);
        let asked = [(USER, "ann"), (GROUP, "a"), (GROUP, "b"), ("impersonate-extra-scope", "s")];
        let user = run("boss", &asked).await.unwrap().unwrap();
        assert_eq!((&*user.name, &*user.groups), ("ann", &["a", "b", ALL_AUTHENTICATED].map(str::to_owned)[..]));
        assert_eq!(user.extra["scope"], ["s"]);
        let account = run("boss", &[(USER, "system:serviceaccount:ns:sa")]).await.unwrap().unwrap();
        assert!(account.in_group("system:serviceaccounts:ns"));
        assert!(run("boss", &[(USER, "ann"), (GROUP, "system:masters")]).await.is_err());
        assert_eq!(run("boss", &[(GROUP, "a")]).await.unwrap_err().code, 500);
        let refused = run("bob", &[(USER, "ann")]).await.unwrap_err();
        assert_eq!(
            refused.message,
            "users \"ann\" is forbidden: User \"bob\" cannot impersonate resource \"users\" in API group \"\" at the \
             cluster scope"
        );
    }
}
