//! Namespaces, config maps, secrets, service accounts, quotas, disruption budgets.

use base64::Engine;
use serde_json::Value;

use super::{Page, head, selector_shown};
use crate::cli::context::Context;
use crate::client::Query;
use crate::error::Result;
use crate::output::plain;
use crate::resource::list;

pub(super) async fn namespace(cx: &Context, page: &mut Page, object: &Value) -> Result<bool> {
    let name = plain(&object["metadata"]["name"]);
    page.field(0, "Name", &name);
    page.labels(0, "Labels", &object["metadata"]["labels"]);
    page.annotations(0, &object["metadata"]["annotations"]);
    page.field(0, "Status", plain(&object["status"]["phase"]));
    if let Some(conditions) = object["status"]["conditions"].as_array().filter(|c| !c.is_empty()) {
        page.line(0, "Conditions:");
        page.line(1, "Type\tStatus\tLastTransitionTime\tReason\tMessage");
        page.line(1, "----\t------\t------------------\t------\t-------");
        for c in conditions {
            let time = crate::duration::rfc1123(c["lastTransitionTime"].as_str().unwrap_or_default());
            page.line(
                1,
                &format!(
                    "{}\t{}\t{time}\t{}\t{}",
                    plain(&c["type"]),
                    plain(&c["status"]),
                    plain(&c["reason"]),
                    plain(&c["message"])
                ),
            );
        }
    }
    for (word, none) in [("resourcequotas", "No resource quota."), ("limitranges", "No LimitRange resource.")] {
        let resource = cx.resource(word).await?;
        let found = list(cx, &resource, Some(&name), &Query::default(), 500).await?;
        let items = found["items"].as_array().cloned().unwrap_or_default();
        page.line(0, "");
        if items.is_empty() {
            page.line(0, none);
        } else if word == "resourcequotas" {
            page.line(0, "Resource Quotas");
            for quota in &items {
                page.field(1, "Name", plain(&quota["metadata"]["name"]));
                usage(page, 1, quota);
            }
        } else {
            page.line(0, "Resource Limits");
            limits(page, &items);
        }
    }
    Ok(false)
}

fn limits(page: &mut Page, ranges: &[Value]) {
    page.line(1, "Type\tResource\tMin\tMax\tDefault Request\tDefault Limit\tMax Limit/Request Ratio");
    page.line(1, "----\t--------\t---\t---\t---------------\t-------------\t-----------------------");
    for limit in ranges.iter().flat_map(|r| r["spec"]["limits"].as_array().into_iter().flatten()) {
        let columns = ["min", "max", "defaultRequest", "default", "maxLimitRequestRatio"];
        let mut names: Vec<&String> =
            columns.iter().flat_map(|c| limit[c].as_object().into_iter().flatten().map(|(k, _)| k)).collect();
        names.sort();
        names.dedup();
        for name in names {
            let cells: Vec<String> =
                columns.iter().map(|c| limit[c][name].as_str().unwrap_or("-").to_owned()).collect();
            page.line(1, &format!("{}\t{name}\t{}", plain(&limit["type"]), cells.join("\t")));
        }
    }
}

pub(super) fn configmap(page: &mut Page, object: &Value) -> bool {
    head(page, object);
    page.line(0, "\nData\n====");
    for (key, value) in object["data"].as_object().into_iter().flatten() {
        page.line(0, &format!("{key}:\n----"));
        page.line(0, &format!("{}\n", plain(value)));
    }
    page.line(0, "\nBinaryData\n====");
    for (key, value) in object["binaryData"].as_object().into_iter().flatten() {
        page.line(0, &format!("{key}: {} bytes", decoded_length(value)));
    }
    page.line(0, "");
    true
}

fn decoded_length(value: &Value) -> usize {
    base64::engine::general_purpose::STANDARD.decode(plain(value)).map_or(0, |bytes| bytes.len())
}

pub(super) fn secret(page: &mut Page, object: &Value) -> bool {
    head(page, object);
    page.line(0, &format!("\nType:\t{}", plain(&object["type"])));
    page.line(0, "\nData\n====");
    let token = object["type"] == "kubernetes.io/service-account-token";
    for (key, value) in object["data"].as_object().into_iter().flatten() {
        if token && key == "token" {
            let text = base64::engine::general_purpose::STANDARD.decode(plain(value)).unwrap_or_default();
            page.field(0, key, String::from_utf8_lossy(&text));
        } else {
            page.field(0, key, format!("{} bytes", decoded_length(value)));
        }
    }
    false
}

pub(super) fn serviceaccount(page: &mut Page, object: &Value) -> bool {
    head(page, object);
    let names = |key: &str| object[key].as_array().into_iter().flatten().map(|r| plain(&r["name"])).collect::<Vec<_>>();
    page.fields(0, "Image pull secrets", &names("imagePullSecrets"));
    page.fields(0, "Mountable secrets", &names("secrets"));
    page.field(0, "Tokens", "<none>");
    true
}

fn usage(page: &mut Page, level: usize, quota: &Value) {
    let scopes: Vec<String> = quota["spec"]["scopes"].as_array().into_iter().flatten().map(plain).collect();
    if !scopes.is_empty() {
        page.field(level, "Scopes", scopes.join(", "));
    }
    page.line(level, "Resource\tUsed\tHard");
    page.line(level, "--------\t----\t----");
    for (name, hard) in quota["status"]["hard"].as_object().into_iter().flatten() {
        page.line(level, &format!("{name}\t{}\t{}", plain(&quota["status"]["used"][name]), plain(hard)));
    }
}

pub(super) fn quota(page: &mut Page, object: &Value) -> bool {
    page.field(0, "Name", plain(&object["metadata"]["name"]));
    page.field(0, "Namespace", plain(&object["metadata"]["namespace"]));
    usage(page, 0, object);
    false
}

pub(super) fn poddisruptionbudget(page: &mut Page, object: &Value) -> bool {
    let (spec, status) = (&object["spec"], &object["status"]);
    page.field(0, "Name", plain(&object["metadata"]["name"]));
    page.field(0, "Namespace", plain(&object["metadata"]["namespace"]));
    page.field_if(0, "Min available", &spec["minAvailable"]);
    page.field_if(0, "Max unavailable", &spec["maxUnavailable"]);
    page.field(0, "Selector", selector_shown(&spec["selector"]));
    page.line(0, "Status:");
    for (label, key) in [
        ("Allowed disruptions", "disruptionsAllowed"),
        ("Current", "currentHealthy"),
        ("Desired", "desiredHealthy"),
        ("Total", "expectedPods"),
    ] {
        page.field(2, label, status[key].as_i64().unwrap_or(0).to_string());
    }
    true
}

pub(super) fn priorityclass(page: &mut Page, object: &Value) -> bool {
    page.field(0, "Name", plain(&object["metadata"]["name"]));
    page.field(0, "Value", plain(&object["value"]));
    page.field(0, "GlobalDefault", object["globalDefault"].as_bool().unwrap_or(false).to_string());
    page.field(0, "PreemptionPolicy", plain(&object["preemptionPolicy"]));
    page.field(0, "Description", plain(&object["description"]));
    page.annotations(0, &object["metadata"]["annotations"]);
    true
}
