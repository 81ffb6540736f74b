//! Tables over the plan.

use std::collections::BTreeMap;

use api_types::k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
    jiff::Timestamp,
};

use super::plan;

fn token(id: &str, fields: &[(&str, &str)]) -> Secret {
    let mut secret = Secret { type_: Some(plan::TYPE.into()), ..Secret::default() };
    secret.metadata.name = Some(format!("bootstrap-token-{id}"));
    let all = [("token-id", id), ("token-secret", "s")];
    let data = all.iter().chain(fields).map(|(k, v)| ((*k).to_owned(), ByteString(v.as_bytes().to_vec())));
    secret.data = Some(data.collect());
    secret
}

#[test]
fn expiry() {
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    for (fields, want) in [
        (&[][..], None),
        (&[("expiration", "2026-01-01T00:00:30Z")], Some(30)),
        (&[("expiration", "2025-12-31T23:59:59Z")], Some(-1)),
    ] {
        assert_eq!(plan::expires_in(&token("a", fields), now), want);
    }
    assert!(plan::expires_in(&token("a", &[("expiration", "never")]), now).unwrap() < 0);
    let other = Secret { type_: Some("Opaque".into()), ..token("a", &[("expiration", "never")]) };
    assert_eq!(plan::expires_in(&other, now), None);
}

#[test]
fn signing() {
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let usable = [("usage-bootstrap-signing", "true")];
    assert_eq!(plan::signing_token(&token("a", &usable), now), Some(("a".into(), "s".into())));
    assert_eq!(plan::signing_token(&token("a", &[]), now), None);
    let expired = [("usage-bootstrap-signing", "true"), ("expiration", "2025-01-01T00:00:00Z")];
    assert_eq!(plan::signing_token(&token("a", &expired), now), None);
    let data =
        BTreeMap::from([("kubeconfig".to_owned(), "c".to_owned()), ("jws-kubeconfig-old".to_owned(), "x".to_owned())]);
    let map = ConfigMap { data: Some(data), ..ConfigMap::default() };
    let signed = plan::signed(&map, &[("a".into(), "s".into())]);
    let keys: Vec<_> = signed.data.as_ref().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["jws-kubeconfig-a", "kubeconfig"]);
    assert_eq!(plan::signed(&signed, &[("a".into(), "s".into())]), signed);
    let parts: Vec<_> = signed.data.as_ref().unwrap()["jws-kubeconfig-a"].split('.').map(str::len).collect();
    assert_eq!((parts.len(), parts[1], parts[2]), (3, 0, 43));
}
