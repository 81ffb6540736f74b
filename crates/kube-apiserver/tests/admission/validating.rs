//! ValidatingAdmissionPolicy.

use serde_json::{Value, json};

use crate::server::{CONFIG_MAPS, POLICIES, Server, config_map, config_maps};

async fn policy(server: &Server, name: &str, spec: Value, binding: Value) {
    let mut spec = spec;
    if spec.get("matchConstraints").is_none() {
        spec["matchConstraints"] = config_maps();
    }
    let policy = json!({"metadata": {"name": name}, "spec": spec});
    server.create(&format!("{POLICIES}/validatingadmissionpolicies"), policy).await;
    let mut bound = json!({"policyName": name, "validationActions": ["Deny"]});
    for (field, value) in binding.as_object().into_iter().flatten() {
        bound[field] = value.clone();
    }
    let binding = json!({"metadata": {"name": format!("{name}-binding")}, "spec": bound});
    server.create(&format!("{POLICIES}/validatingadmissionpolicybindings"), binding).await;
}

/// Waits until what `bad` is refused for contains a text.
async fn comes_into_force(server: &Server, bad: &Value, message: &str) {
    let said = |answer: &Result<Value, Value>| {
        answer.as_ref().is_err_and(|e| e["message"].as_str().is_some_and(|m| m.contains(message)))
    };
    server.until(CONFIG_MAPS, bad, said).await;
}

#[tokio::test]
async fn a_policy_refuses_in_upstreams_words() {
    let server = Server::start().await;
    let spec = json!({
        "variables": [{"name": "n", "expression": "size(object.data)"}, {"name": "double", "expression": "variables.n * 2"}],
        "matchConditions": [{"name": "not-exempt", "expression": "!object.metadata.name.startsWith('exempt')"}],
        "validations": [
            {"expression": "variables.double <= 2", "messageExpression": "'got ' + string(variables.n) + ' keys'", "reason": "Forbidden"},
            {"expression": "!('bad' in object.data)"},
        ],
    });
    policy(&server, "few", spec, json!({})).await;
    comes_into_force(&server, &config_map("x", json!({"a": "1", "b": "2"})), "got 2 keys").await;
    let refusal = server.refused(CONFIG_MAPS, config_map("x", json!({"a": "1", "b": "2"}))).await;
    let message = "ValidatingAdmissionPolicy 'few' with binding 'few-binding' denied request: got 2 keys";
    assert_eq!(refusal["message"], format!("configmaps \"x\" is forbidden: {message}"));
    assert_eq!((&refusal["code"], &refusal["reason"]), (&json!(403), &json!("Forbidden")));
    assert_eq!(refusal["details"]["causes"][0]["message"], message);
    let refusal = server.refused(CONFIG_MAPS, config_map("x", json!({"bad": "1"}))).await;
    assert!(refusal["message"].as_str().is_some_and(|m| m.ends_with("failed expression: !('bad' in object.data)")));
    assert_eq!((&refusal["code"], &refusal["reason"]), (&json!(422), &json!("Invalid")));
    server.create(CONFIG_MAPS, config_map("exempt", json!({"a": "1", "bad": "2"}))).await;
    server.create(CONFIG_MAPS, config_map("fine", json!({"a": "1"}))).await;
    let update = config_map("fine", json!({"a": "1", "b": "2"}));
    let refusal = server.request("PUT", &format!("{CONFIG_MAPS}/fine"), &update).await.expect_err("refused");
    assert_eq!(refusal["code"], 403, "updates are judged too");
    server.stop().await;
}

#[tokio::test]
async fn errors_follow_the_failure_policy() {
    let server = Server::start().await;
    let rule =
        |failure: &str| json!({"failurePolicy": failure, "validations": [{"expression": "object.data.nope == 'x'"}]});
    policy(&server, "ignored", rule("Ignore"), json!({})).await;
    policy(&server, "fails", rule("Fail"), json!({})).await;
    let wanted = "ValidatingAdmissionPolicy 'fails' with binding 'fails-binding' denied request: \
        expression 'object.data.nope == 'x'' resulted in error: no such key: nope";
    comes_into_force(&server, &config_map("x", json!({"a": "1"})), wanted).await;
    server.create(CONFIG_MAPS, config_map("x", json!({"nope": "x"}))).await;
    server.stop().await;
}

#[tokio::test]
async fn too_costly_expressions_are_refused() {
    let server = Server::start().await;
    let list = format!("[{}]", (0..100).map(|i| i.to_string()).collect::<Vec<_>>().join(","));
    let costly = format!("{list}.all(a, {list}.all(b, {list}.all(c, a + b + c >= 0)))");
    policy(&server, "costly", json!({"validations": [{"expression": costly}]}), json!({})).await;
    comes_into_force(&server, &config_map("x", json!({})), "operation cancelled: actual cost limit exceeded").await;
    server.stop().await;
}

#[tokio::test]
async fn parameters_come_from_other_objects() {
    let server = Server::start().await;
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConstraints": {"resourceRules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
            "resources": ["secrets"]}]},
        "validations": [{"expression": "object.metadata.name.startsWith(params.data.prefix)",
            "messageExpression": "'must start with ' + params.data.prefix"}],
    });
    let params = json!({"paramRef": {"name": "prefixes", "namespace": "default", "parameterNotFoundAction": "Deny"}});
    policy(&server, "prefix", spec, params).await;
    let secrets = "/api/v1/namespaces/default/secrets";
    let secret = json!({"metadata": {"name": "x"}});
    let missing = "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    server
        .until(secrets, &secret, |a| {
            a.as_ref().is_err_and(|e| e["message"].as_str().is_some_and(|m| m.ends_with(missing)))
        })
        .await;
    server.create(CONFIG_MAPS, config_map("prefixes", json!({"prefix": "a-"}))).await;
    server
        .until(secrets, &secret, |a| {
            a.as_ref().is_err_and(|e| e["message"].as_str().is_some_and(|m| m.ends_with("must start with a-")))
        })
        .await;
    server.create(secrets, json!({"metadata": {"name": "a-x"}})).await;
    server.stop().await;
}

#[tokio::test]
async fn policies_see_the_request_the_namespace_and_the_authorizer() {
    let server = Server::start().await;
    let spec = json!({"validations": [
        {"expression": "request.operation == 'CREATE' && request.userInfo.username == 'admin' && request.resource.resource == 'configmaps'"},
        {"expression": "namespaceObject.metadata.name == 'default'"},
        {"expression": "authorizer.group('').resource('pods').namespace('default').check('create').allowed()"},
        {"expression": "authorizer.requestResource.check('create').allowed()"},
        {"expression": "!authorizer.serviceAccount('default', 'nobody').group('').resource('secrets').check('delete').allowed()"},
        {"expression": "oldObject == null && object.metadata.name != 'marked'"},
    ]});
    policy(&server, "sees", spec, json!({})).await;
    comes_into_force(&server, &config_map("marked", json!({})), "object.metadata.name != 'marked'").await;
    server.create(CONFIG_MAPS, config_map("x", json!({}))).await;
    server.stop().await;
}

#[tokio::test]
async fn a_policy_is_never_about_policies() {
    let server = Server::start().await;
    let all =
        json!({"resourceRules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]});
    let spec = json!({"matchConstraints": all, "validations": [{"expression": "false", "message": "nothing goes"}]});
    policy(&server, "locked", spec, json!({})).await;
    comes_into_force(&server, &config_map("x", json!({})), "nothing goes").await;
    let path = format!("{POLICIES}/validatingadmissionpolicybindings/locked-binding");
    server.request("DELETE", &path, &json!({})).await.expect("the binding can go");
    server.until(CONFIG_MAPS, &config_map("x", json!({})), |answer| answer.is_ok()).await;
    server.stop().await;
}

#[tokio::test]
async fn expressions_are_checked_when_a_policy_is_written() {
    let server = Server::start().await;
    let policy = json!({"metadata": {"name": "wrong"}, "spec": {"matchConstraints": config_maps(),
        "validations": [{"expression": "object.data.size() + 1"}, {"expression": "nope == 1"}]}});
    let refusal = server.refused(&format!("{POLICIES}/validatingadmissionpolicies"), policy).await;
    let causes: Vec<&str> =
        refusal["details"]["causes"].as_array().into_iter().flatten().filter_map(|c| c["message"].as_str()).collect();
    assert_eq!(
        causes,
        [
            "Invalid value: \"object.data.size() + 1\": must evaluate to bool but got int",
            "Invalid value: \"nope == 1\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'nope' (in container '')\n | nope == 1\n | ^",
        ]
    );
    server.stop().await;
}
