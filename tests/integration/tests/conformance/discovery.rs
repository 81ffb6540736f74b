//! What clients learn of the server before they ask it for anything.

use serde_json::{Value, json};

use crate::{
    definitions,
    session::{BOTH, Form, Session, on_cluster},
};

const AGGREGATED: &str = "application/json;v=v2;g=apidiscovery.k8s.io;as=APIGroupDiscoveryList";

async fn raw(session: &Session, path: &str, accept: &str) -> (u16, String, Value) {
    let response = session.send("GET", path, (accept, ""), Vec::new()).await;
    let kind = response.headers().get("content-type").map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    let answer = crate::session::answer(response).await;
    (answer.code, kind, answer.body)
}

fn resources(list: &Value, group: &str, version: &str) -> Vec<String> {
    let of = |group: &Value| group["versions"].as_array().unwrap().clone();
    let group =
        list["items"].as_array().unwrap().iter().find(|g| g["metadata"]["name"].as_str().unwrap_or_default() == group);
    let versions = group.map(of).unwrap_or_default();
    let version = versions.iter().find(|v| v["version"] == version);
    let list = version.and_then(|v| v["resources"].as_array()).cloned().unwrap_or_default();
    list.iter().map(|r| r["resource"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn all_of_it_in_one_document() {
    on_cluster(&[Form::Json], |session| async move {
        let (code, kind, groups) = raw(&session, "/apis", AGGREGATED).await;
        assert_eq!(
            (code, kind.as_str(), &groups["kind"]),
            (
                200,
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
                &json!("APIGroupDiscoveryList")
            )
        );
        for (group, resource) in [
            ("apps", "deployments"),
            ("batch", "jobs"),
            ("policy", "poddisruptionbudgets"),
            ("rbac.authorization.k8s.io", "roles"),
            ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
            ("apiregistration.k8s.io", "apiservices"),
            ("apiextensions.k8s.io", "customresourcedefinitions"),
            ("storage.k8s.io", "storageclasses"),
        ] {
            assert!(resources(&groups, group, "v1").contains(&resource.to_owned()), "{group} {resource}");
        }
        let (_, _, core) = raw(&session, "/api", AGGREGATED).await;
        assert!(resources(&core, "", "v1").contains(&"pods".to_owned()));
        // What can't be had is passed over; the old form stays the default.
        for accept in [
            "application/json",
            "application/json;v=v3;g=apidiscovery.k8s.io;as=APIGroupDiscoveryList,application/json",
            "*/*",
        ] {
            assert_eq!(raw(&session, "/apis", accept).await.2["kind"], "APIGroupList", "{accept}");
        }
        assert_eq!(raw(&session, "/apis", "application/unknown").await.0, 406);
        assert_eq!(raw(&session, "/apis", &format!("{AGGREGATED},application/json")).await.1, kind);
    });
}

#[test]
fn custom_resources_are_discovered_at_once() {
    on_cluster(&[Form::Json], |session| async move {
        definitions::define(&session, definitions::definition("aggregated.example.com", "Thing", &["v1"])).await;
        let (_, _, groups) = raw(&session, "/apis", AGGREGATED).await;
        assert_eq!(resources(&groups, "aggregated.example.com", "v1"), ["things"]);
        let list = session.get("/apis/aggregated.example.com/v1").await.is(200);
        assert_eq!(list["resources"][0]["kind"], "Thing");
        let definitions = session.get("/apis/apiextensions.k8s.io/v1").await.is(200);
        assert!(definitions["resources"].as_array().unwrap().iter().any(|r| r["name"] == "customresourcedefinitions"));
    });
}

#[test]
fn each_group_prefers_a_version_that_it_has() {
    on_cluster(&BOTH, |session| async move {
        let groups = session.get("/apis").await.is(200);
        for group in groups["groups"].as_array().unwrap() {
            let name = group["name"].as_str().unwrap();
            let one = session.get(&format!("/apis/{name}")).await.is(200);
            assert_eq!(one["preferredVersion"], group["preferredVersion"], "{name}");
            let versions = one["versions"].as_array().unwrap();
            assert!(versions.contains(&one["preferredVersion"]), "{one}");
            for version in versions {
                let at = version["groupVersion"].as_str().unwrap();
                let list = session.get(&format!("/apis/{at}")).await.is(200);
                assert_eq!(list["groupVersion"], at);
                assert!(!list["resources"].as_array().unwrap().is_empty(), "{at}");
            }
        }
    });
}

#[test]
fn the_version_of_the_server() {
    on_cluster(&[Form::Json], |session| async move {
        let version = session.get("/version").await.is(200);
        assert_eq!((&version["major"], &version["minor"]), (&json!("1"), &json!("36")));
        for field in ["gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform"] {
            assert!(version[field].is_string(), "{field}: {version}");
        }
        assert_eq!(session.get("/api").await.is(200)["versions"], json!(["v1"]));
    });
}

#[test]
fn no_table_of_what_has_no_metadata() {
    on_cluster(&[Form::Json], |session| async move {
        let body = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}});
        let types = ("application/json;as=Table;g=meta.k8s.io;v=v1", "application/json");
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let response = session.send("POST", path, types, body.to_string().into_bytes()).await;
        let status = crate::session::answer(response).await.is(406);
        assert_eq!(status["reason"], "NotAcceptable");
    });
}

#[test]
fn documents_are_kept_by_their_tags() {
    on_cluster(&[Form::Json], |session| async move {
        let index = session.get("/openapi/v3").await.is(200);
        let at = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
        let document = session.get(at).await;
        assert_eq!(document.headers["cache-control"], "public, immutable");
        let tag = document.headers["etag"].to_str().unwrap().to_owned();
        assert!(at.ends_with(&format!("?hash={}", tag.trim_matches('"'))), "{at} {tag}");
        assert!(document.body["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments"].is_object());
        let stale = session.get("/openapi/v3/apis/apps/v1?hash=0").await;
        assert_eq!((stale.code, stale.headers["location"].to_str().unwrap()), (301, at));
        for (path, accept) in
            [("/openapi/v3/apis/apps/v1", "application/json"), ("/apis", AGGREGATED), ("/openapi/v2", "*/*")]
        {
            let first = session.send("GET", path, (accept, ""), Vec::new()).await;
            let tag = first.headers()["etag"].to_str().unwrap();
            let request = http::Request::get(path).header("accept", accept).header("if-none-match", tag);
            let again = session.client.send(request.body(kube::client::Body::empty()).unwrap()).await.unwrap();
            assert_eq!(again.status(), 304, "{path}");
        }
    });
}
