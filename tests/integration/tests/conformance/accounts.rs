//! Service accounts and their tokens, access reviews, certificate requests.

use serde_json::{Value, json};

use crate::session::{BOTH, on_cluster};

const ACCOUNTS: &str = "/api/v1/namespaces/test/serviceaccounts";
const PODS: &str = "/api/v1/namespaces/test/pods";

#[test]
fn a_token_is_made_and_reviewed() {
    on_cluster(&BOTH, |session| async move {
        session.create(ACCOUNTS, json!({"metadata": {"name": "sa"}})).await;
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}});
        let token = session.post(&format!("{ACCOUNTS}/sa/token"), request).await.is(201);
        let token = token["status"]["token"].as_str().unwrap().to_owned();
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
        let review = session.post("/apis/authentication.k8s.io/v1/tokenreviews", review).await.is(201);
        assert_eq!(review["status"]["authenticated"], true, "{review}");
        let user = &review["status"]["user"];
        assert_eq!(user["username"], "system:serviceaccount:test:sa");
        for group in ["system:serviceaccounts", "system:serviceaccounts:test", "system:authenticated"] {
            assert!(user["groups"].as_array().unwrap().contains(&group.into()), "{user}");
        }
        // With the account gone the token is worth nothing.
        session.delete(&format!("{ACCOUNTS}/sa")).await.is(200);
        let (session, token) = (&session, &token);
        let refused = || async move {
            let again =
                json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
            let review = session.post("/apis/authentication.k8s.io/v1/tokenreviews", again).await.is(201);
            if review["status"]["authenticated"] == true { Err("still good".to_owned()) } else { Ok(()) }
        };
        testkit::eventually(crate::session::LIMIT, "the token to be refused", refused).await;
    });
}

#[test]
fn tokens_are_mounted_unless_somebody_opts_out() {
    on_cluster(&BOTH, |session| async move {
        for (account, on_account, on_pod, mounted) in [
            ("yes", Some(true), None, true),
            ("no", Some(false), None, false),
            ("unsaid", None, None, true),
            ("yes", Some(true), Some(false), false),
            ("no", Some(false), Some(true), true),
            ("unsaid", None, Some(false), false),
        ] {
            let name = format!("{account}-{on_pod:?}").to_lowercase().replace(['(', ')'], "");
            let mut object = json!({"metadata": {"name": name}});
            if let Some(on) = on_account {
                object["automountServiceAccountToken"] = on.into();
            }
            session.create(ACCOUNTS, object).await;
            let mut pod = json!({"metadata": {"name": name}, "spec": {"serviceAccountName": name,
                "containers": [{"name": "c", "image": "i"}]}});
            if let Some(on) = on_pod {
                pod["spec"]["automountServiceAccountToken"] = on.into();
            }
            let created = session.create(PODS, pod).await;
            let mounts = created["spec"]["containers"][0]["volumeMounts"].as_array().cloned().unwrap_or_default();
            let has = mounts.iter().any(|m| m["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount");
            assert_eq!(has, mounted, "{name}");
        }
    });
}

#[test]
fn the_root_of_trust_is_in_every_namespace() {
    on_cluster(&BOTH, |session| async move {
        let path = "/api/v1/namespaces/test/configmaps/kube-root-ca.crt";
        let has = |map: &Value| map["data"]["ca.crt"].as_str().is_some_and(|ca| ca.contains("CERTIFICATE"));
        session.wait_for(path, has).await;
        session.delete(path).await.is(200);
        session.wait_for(path, has).await;
        session.merge(path, json!({"data": {"ca.crt": ""}})).await.is(200);
        session.wait_for(path, has).await;
    });
}

#[test]
fn access_can_be_asked_about() {
    on_cluster(&BOTH, |session| async move {
        let attributes = json!({"verb": "get", "group": "", "version": "v1", "resource": "pods", "namespace": "test"});
        let ask = |kind: &str, user: Option<&str>| {
            let mut body = json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": {"resourceAttributes": attributes}});
            if let Some(user) = user {
                body["spec"]["user"] = user.into();
            }
            if kind == "LocalSubjectAccessReview" {
                body["metadata"] = json!({"namespace": "test"});
            }
            body
        };
        let root = "/apis/authorization.k8s.io/v1";
        let account = "system:serviceaccount:test:default";
        let subject = format!("{root}/subjectaccessreviews");
        let local = format!("{root}/namespaces/test/localsubjectaccessreviews");
        let allowed = |answer: Value| answer["status"]["allowed"] == true;
        assert!(!allowed(session.post(&subject, ask("SubjectAccessReview", Some(account))).await.is(201)));
        assert!(!allowed(session.post(&local, ask("LocalSubjectAccessReview", Some(account))).await.is(201)));
        assert!(allowed(
            session
                .post(&format!("{root}/selfsubjectaccessreviews"), ask("SelfSubjectAccessReview", None))
                .await
                .is(201)
        ));
        let binding = json!({"metadata": {"name": "view"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
            "name": "view"}, "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "test"}]});
        session.create("/apis/rbac.authorization.k8s.io/v1/namespaces/test/rolebindings", binding).await;
        assert!(allowed(session.post(&subject, ask("SubjectAccessReview", Some(account))).await.is(201)));
        assert!(allowed(session.post(&local, ask("LocalSubjectAccessReview", Some(account))).await.is(201)));
        let mut elsewhere = ask("LocalSubjectAccessReview", Some(account));
        elsewhere["metadata"]["namespace"] = "other".into();
        assert_eq!(session.post(&local, elsewhere).await.code, 400);
        let rules = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": "test"}});
        let rules = session.post(&format!("{root}/selfsubjectrulesreviews"), rules).await.is(201);
        assert!(rules["status"]["resourceRules"].as_array().is_some_and(|r| !r.is_empty()), "{rules}");
    });
}

#[test]
fn a_certificate_request_is_approved() {
    on_cluster(&BOTH, |session| async move {
        const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
        let body = json!({"metadata": {"name": "csr"}, "spec": {"request": crate::lifecycle::CSR, "signerName": "example.com/suite",
            "usages": ["digital signature"]}});
        let created = session.create(REQUESTS, body).await;
        assert_eq!(created["spec"]["username"], "admin");
        let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "E2E", "message": "m"});
        let path = format!("{REQUESTS}/csr");
        let mut approved = created.clone();
        approved["status"]["conditions"] = json!([condition("Approved")]);
        // Neither the object itself nor its status approve.
        let plain = session.put(&path, approved.clone()).await.is(200);
        assert!(plain["status"]["conditions"].is_null());
        let approval = session.put(&format!("{path}/approval"), approved).await.is(200);
        assert_eq!(approval["status"]["conditions"][0]["type"], "Approved");
        let patch = json!({"status": {"certificate": "Zm9v"}});
        session.merge(&format!("{path}/status"), patch).await.is(422);
        let conditions = json!({"status": {"conditions": [condition("Approved"), condition("ApprovalPatch")]}});
        assert_eq!(
            session.merge(&format!("{path}/approval"), conditions).await.is(200)["status"]["conditions"][1]["type"],
            "ApprovalPatch"
        );
    });
}

#[test]
fn a_flow_schema_says_whether_its_level_exists() {
    const FLOW: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
    on_cluster(&BOTH[..1], |session| async move {
        let schema = json!({"metadata": {"name": "s"}, "spec": {"matchingPrecedence": 9000,
            "priorityLevelConfiguration": {"name": "late"}}});
        session.create(&format!("{FLOW}/flowschemas"), schema).await;
        let dangling = |status: &'static str| {
            move |schema: &Value| {
                let conditions = schema["status"]["conditions"].as_array().into_iter().flatten();
                conditions.filter(|c| c["type"] == "Dangling").any(|c| c["status"] == status)
            }
        };
        session.wait_for(&format!("{FLOW}/flowschemas/s"), dangling("True")).await;
        let level = json!({"metadata": {"name": "late"}, "spec": {"type": "Limited",
            "limited": {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}}}});
        session.create(&format!("{FLOW}/prioritylevelconfigurations"), level).await;
        session.wait_for(&format!("{FLOW}/flowschemas/s"), dangling("False")).await;
        session.wait_for(&format!("{FLOW}/flowschemas/catch-all"), dangling("False")).await;
    });
}
