//! Generators of roles and their bindings.

use serde_json::{Map, Value, json};

use super::metadata;
use crate::cli::context::Context;
use crate::error::Result;
use crate::fail;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Who is bound: `--user`, `--group`, `--serviceaccount`.
pub(crate) fn subjects(cx: &Context) -> Result<Vec<Value>> {
    let mut subjects = Vec::new();
    for (flag, kind) in [("user", "User"), ("group", "Group")] {
        subjects
            .extend(cx.flags.list(flag).into_iter().map(|name| json!({"apiGroup": GROUP, "kind": kind, "name": name})));
    }
    for account in cx.flags.list("serviceaccount") {
        let Some((namespace, name)) =
            account.split_once(':').filter(|(n, a)| !n.is_empty() && !a.is_empty() && !a.contains(':'))
        else {
            fail!("serviceaccount must be <namespace>:<name>");
        };
        subjects.push(json!({"kind": "ServiceAccount", "name": name, "namespace": namespace}));
    }
    Ok(subjects)
}

fn binding(cx: &Context, name: &str, kind: &str, role: (&str, &str)) -> Result<Value> {
    let mut object = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": metadata(name),
        "roleRef": {"apiGroup": GROUP, "kind": role.0, "name": role.1}
    });
    let subjects = subjects(cx)?;
    if !subjects.is_empty() {
        object["subjects"] = json!(subjects);
    }
    Ok(object)
}

pub(super) fn rolebinding(cx: &Context, name: &str) -> Result<Value> {
    match (cx.flags.opt("clusterrole"), cx.flags.opt("role")) {
        (Some(role), None) => binding(cx, name, "RoleBinding", ("ClusterRole", role)),
        (None, Some(role)) => binding(cx, name, "RoleBinding", ("Role", role)),
        _ => fail!("exactly one of clusterrole or role must be specified"),
    }
}

pub(super) fn clusterrolebinding(cx: &Context, name: &str) -> Result<Value> {
    let role = cx.flags.require("clusterrole")?.to_owned();
    binding(cx, name, "ClusterRoleBinding", ("ClusterRole", &role))
}

/// The rules that `--verb`, `--resource` and `--resource-name` make: one for each API group.
async fn rules(cx: &Context) -> Result<Vec<Value>> {
    let mut verbs: Vec<String> = Vec::new();
    for verb in cx.flags.list("verb") {
        if verb == "*" {
            verbs = vec![verb];
            break;
        }
        if !verbs.contains(&verb) {
            verbs.push(verb);
        }
    }
    if verbs.is_empty() {
        fail!("at least one verb must be specified");
    }
    let names = cx.flags.list("resource-name");
    let mut by_group: Vec<(String, Vec<String>)> = Vec::new();
    for word in cx.flags.list("resource") {
        let (word, sub) = word.split_once('/').map_or((word.as_str(), ""), |(w, s)| (w, s));
        let (group, mut name) = if word == "*" {
            ("*".to_owned(), "*".to_owned())
        } else {
            let resource = cx.resource(word).await?;
            (resource.group, resource.name)
        };
        if !sub.is_empty() {
            name = format!("{name}/{sub}");
        }
        match by_group.iter_mut().find(|(g, _)| *g == group) {
            Some((_, list)) if !list.contains(&name) => list.push(name),
            Some(_) => {}
            None => by_group.push((group, vec![name])),
        }
    }
    by_group.sort();
    let rules = by_group.into_iter().map(|(group, resources)| {
        let mut rule = json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
        if !names.is_empty() {
            rule["resourceNames"] = json!(names);
        }
        rule
    });
    Ok(rules.collect())
}

pub(super) async fn role(cx: &Context, name: &str) -> Result<Value> {
    let rules = rules(cx).await?;
    if rules.is_empty() {
        fail!("at least one resource must be specified");
    }
    Ok(json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Role", "metadata": metadata(name), "rules": rules}))
}

pub(super) async fn clusterrole(cx: &Context, name: &str) -> Result<Value> {
    let mut object =
        json!({"apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRole", "metadata": metadata(name), "rules": null});
    if let Some(text) = cx.flags.opt("aggregation-rule") {
        let mut labels = Map::new();
        for pair in text.split(',') {
            let Some((key, value)) = pair.split_once('=') else {
                fail!("aggregation rule must be key=value pairs: {text}")
            };
            labels.insert(key.to_owned(), json!(value));
        }
        object["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": labels}]});
        return Ok(object);
    }
    let mut rules = if cx.flags.changed("resource") { rules(cx).await? } else { Vec::new() };
    let urls = cx.flags.list("non-resource-url");
    if !urls.is_empty() {
        rules.push(json!({"nonResourceURLs": urls, "verbs": cx.flags.list("verb")}));
    }
    if rules.is_empty() {
        fail!("one of resource or nonResourceURL must be specified");
    }
    object["rules"] = json!(rules);
    Ok(object)
}
