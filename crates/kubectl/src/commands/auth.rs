//! `kubectl auth`: can-i, whoami.

use http::Method;
use serde_json::{Value, json};

use crate::cli::context::Context;
use crate::client::JSON;
use crate::error::{Error, Result};
use crate::output::printer::Format;
use crate::output::{plain, tabs};
use crate::{fail, out};

/// Runs `auth can-i`.
pub async fn can_i(cx: &Context) -> Result<()> {
    if cx.flags.bool("list") {
        if !cx.args().is_empty() {
            fail!("list option must be specified with no arguments");
        }
        return rules(cx).await;
    }
    let args = cx.args();
    let (Some(verb), Some(object)) = (args.first(), args.get(1)) else {
        fail!(
            "you must specify two arguments: verb resource or verb resource/resourceName.\nSee 'kubectl auth can-i -h' for help and examples."
        );
    };
    let spec = if object.starts_with('/') {
        json!({"nonResourceAttributes": {"verb": verb, "path": object}})
    } else {
        json!({"resourceAttributes": resource_attributes(cx, verb, object).await?})
    };
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec});
    let answer = cx
        .client()?
        .change(Method::POST, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", JSON, &review)
        .await?;
    let allowed = answer["status"]["allowed"].as_bool().unwrap_or(false);
    if !cx.flags.bool("quiet") {
        let mut text = if allowed { "yes".to_owned() } else { "no".to_owned() };
        if !allowed {
            for (label, key) in [("", "reason"), ("", "evaluationError")] {
                let why = plain(&answer["status"][key]);
                if !why.is_empty() {
                    text.push_str(&format!("{label} - {why}"));
                }
            }
        }
        out(&format!("{text}\n"));
    }
    if allowed { Ok(()) } else { Err(Error::Exit(1, String::new())) }
}

async fn resource_attributes(cx: &Context, verb: &str, object: &str) -> Result<Value> {
    let (word, name) = object.split_once('/').map_or((object, ""), |(w, n)| (w, n));
    let (mut group, mut resource, mut version) = (String::new(), word.to_owned(), String::new());
    let mut namespaced = true;
    if word == "*" {
        (group, version) = ("*".to_owned(), "*".to_owned());
    } else if let Some(found) = cx.find_resource(word).await? {
        namespaced = found.namespaced;
        (group, resource, version) = (found.group, found.name, found.version);
    } else {
        eprintln!("Warning: the server doesn't have a resource type '{word}'\n");
        if let Some((r, g)) = word.split_once('.') {
            (group, resource) = (g.to_owned(), r.to_owned());
        }
    }
    let known = [
        "get",
        "list",
        "watch",
        "create",
        "update",
        "patch",
        "delete",
        "deletecollection",
        "use",
        "bind",
        "impersonate",
        "*",
        "approve",
        "sign",
        "escalate",
        "attest",
        "proxy",
    ];
    if !known.contains(&verb) {
        eprintln!("Warning: verb '{verb}' is not a known verb\n");
    }
    if !namespaced && !cx.flags.bool("all-namespaces") {
        eprintln!(
            "Warning: resource '{resource}' is not namespace scoped{}\n",
            if group.is_empty() { String::new() } else { format!(" in group '{group}'") }
        );
    }
    let namespace = if cx.flags.bool("all-namespaces") { String::new() } else { cx.namespace()? };
    let mut attributes =
        json!({"verb": verb, "group": group, "resource": resource, "version": version, "namespace": namespace});
    if !name.is_empty() {
        attributes["name"] = json!(name);
    }
    if let Some(sub) = cx.flags.opt("subresource") {
        attributes["subresource"] = json!(sub);
    }
    Ok(attributes)
}

async fn rules(cx: &Context) -> Result<()> {
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": cx.namespace()?}});
    let answer = cx
        .client()?
        .change(Method::POST, "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", JSON, &review)
        .await?;
    let words =
        |v: &Value| format!("[{}]", v.as_array().into_iter().flatten().map(plain).collect::<Vec<_>>().join(" "));
    let mut rows = Vec::new();
    if !cx.flags.bool("no-headers") {
        rows.push(["Resources", "Non-Resource URLs", "Resource Names", "Verbs"].map(str::to_owned).to_vec());
    }
    let mut lines: Vec<Vec<String>> = Vec::new();
    for rule in answer["status"]["resourceRules"].as_array().into_iter().flatten() {
        for resource in rule["resources"].as_array().into_iter().flatten().map(plain) {
            for group in rule["apiGroups"].as_array().into_iter().flatten().map(plain) {
                let full = match resource.split_once('/') {
                    _ if group.is_empty() => resource.clone(),
                    Some((name, sub)) => format!("{name}.{group}/{sub}"),
                    None => format!("{resource}.{group}"),
                };
                lines.push(vec![full, "[]".to_owned(), words(&rule["resourceNames"]), words(&rule["verbs"])]);
            }
        }
    }
    for rule in answer["status"]["nonResourceRules"].as_array().into_iter().flatten() {
        lines.push(vec![String::new(), words(&rule["nonResourceURLs"]), "[]".to_owned(), words(&rule["verbs"])]);
    }
    rows.extend(lines);
    out(&tabs::table(&rows));
    Ok(())
}

/// Runs `auth whoami`.
pub async fn whoami(cx: &Context) -> Result<()> {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let mut answer =
        cx.client()?.change(Method::POST, "/apis/authentication.k8s.io/v1/selfsubjectreviews", JSON, &review).await?;
    // Upstream prints the empty time of its typed object.
    if answer["metadata"]["creationTimestamp"].is_null() {
        answer["metadata"]["creationTimestamp"] = Value::Null;
    }
    let format = Format::of(&cx.flags)?;
    if !format.is_human() {
        out(&format.object(&answer, "selfsubjectreview"));
        return Ok(());
    }
    let info = &answer["status"]["userInfo"];
    let mut rows = vec![["ATTRIBUTE".to_owned(), "VALUE".to_owned()].to_vec()];
    let mut add = |name: &str, text: String| {
        if !text.is_empty() {
            rows.push(vec![name.to_owned(), text]);
        }
    };
    let words = |v: &Value| v.as_array().into_iter().flatten().map(plain).collect::<Vec<_>>().join(" ");
    add("Username", plain(&info["username"]));
    add("UID", plain(&info["uid"]));
    if info["groups"].as_array().is_some_and(|g| !g.is_empty()) {
        add("Groups", format!("[{}]", words(&info["groups"])));
    }
    for (key, values) in info["extra"].as_object().into_iter().flatten() {
        add(&format!("Extra: {key}"), format!("[{}]", words(values)));
    }
    out(&tabs::table(&rows));
    Ok(())
}
