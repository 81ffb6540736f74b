//! `--token-auth-file`: lines of token, user, uid and groups, as CSV.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use apiserver::{authn::AuthenticationError, user::UserInfo};
use async_trait::async_trait;

use super::{TokenAuthenticator, TokenIdentity};

pub(crate) struct TokenFile(BTreeMap<String, UserInfo>);

impl TokenFile {
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut users = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let fields = fields(line).with_context(|| format!("line {}", number + 1))?;
            let [token, name, uid, rest @ ..] = fields.as_slice() else {
                bail!("line {}: token, user name and uid are needed, found {} fields", number + 1, fields.len());
            };
            if token.is_empty() {
                bail!("line {}: the token is empty", number + 1);
            }
            let groups = rest.first().map(|groups| groups.split(',').map(|group| group.trim().to_owned()).collect());
            let user = UserInfo {
                name: name.clone(),
                uid: uid.clone(),
                groups: groups.unwrap_or_default(),
                ..UserInfo::default()
            };
            users.insert(token.clone(), user);
        }
        Ok(Self(users))
    }
}

/// The fields of one CSV record: quoted where they contain a comma.
fn fields(line: &str) -> anyhow::Result<Vec<String>> {
    let (mut fields, mut rest) = (Vec::new(), line);
    loop {
        rest = rest.trim_start();
        let field = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (field, after) = quoted.split_once('"').context("a quote is not closed")?;
                rest = after.trim_start();
                field
            }
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let field = &rest[..end];
                rest = &rest[end..];
                field
            }
        };
        fields.push(field.trim().to_owned());
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None if rest.is_empty() => return Ok(fields),
            None => bail!("text after a quoted field"),
        }
    }
}

#[async_trait]
impl TokenAuthenticator for TokenFile {
    async fn token(&self, token: &str, audiences: &[String]) -> Result<Option<TokenIdentity>, AuthenticationError> {
        let user = self.0.get(token).cloned();
        Ok(user.map(|user| TokenIdentity { user, audiences: audiences.to_vec() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let file = TokenFile::parse("t1,ann,u1\n\nt2, bob ,u2,\"g1, g2\"\nt3,eve,u3,g\n").unwrap();
        assert_eq!(file.0["t1"], UserInfo { uid: "u1".into(), ..UserInfo::new("ann", &[]) });
        assert_eq!(file.0["t2"], UserInfo { uid: "u2".into(), ..UserInfo::new("bob", &["g1", "g2"]) });
        assert_eq!(file.0["t3"].groups, ["g"]);
        for bad in ["t1,ann", ",ann,u", "t,ann,u,\"g", "t,\"a\"b,u"] {
            assert!(TokenFile::parse(bad).is_err(), "{bad}");
        }
    }
}
