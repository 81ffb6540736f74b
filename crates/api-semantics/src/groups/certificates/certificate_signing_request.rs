//! CertificateSigningRequest: a request for a client or serving certificate.

use serde_json::{Value, json};

use crate::defaults::{drop_key, ensure, keep};
use crate::kind::{Kind, empty_status};
use crate::strategy::{Context, Part};

pub(crate) static KIND: Kind = Kind {
    initial_status: Some(empty_status),
    default: |o| {
        ensure(o, "status");
    },
    prepare_create,
    prepare_update,
    ..Kind::CLUSTER
};

/// Who asks is recorded by the server, whatever the client wrote.
fn prepare_create(context: &Context, request: &mut Value) {
    let spec = ensure(request, "spec");
    for key in ["username", "uid", "groups", "extra"] {
        drop_key(spec, key);
    }
    if !context.username.is_empty() {
        spec["username"] = json!(context.username);
    }
    if !context.uid.is_empty() {
        spec["uid"] = json!(context.uid);
    }
    if !context.groups.is_empty() {
        spec["groups"] = json!(context.groups);
    }
    if !context.extra.is_empty() {
        spec["extra"] = json!(context.extra);
    }
}

/// The spec never changes; the status subresource writes the certificate, `approval` the conditions.
fn prepare_update(context: &Context, part: Part, new: &mut Value, old: &Value) {
    keep(new, old, "spec");
    let old_status = old.get("status").cloned().unwrap_or_else(|| json!({}));
    match part {
        Part::Main => {}
        Part::Status => keep_decisions(ensure(new, "status"), &old_status),
        Part::Other(_) => {
            let conditions = ensure(new, "status").get("conditions").cloned();
            let mut status = old_status.clone();
            if let Some(conditions) = conditions {
                status["conditions"] = conditions;
            } else {
                drop_key(&mut status, "conditions");
            }
            new["status"] = status;
        }
    }
    stamp_conditions(context, ensure(new, "status"), &old_status);
}

/// Approval and denial can only be given through `approval`.
fn keep_decisions(status: &mut Value, old: &Value) {
    let decision = |c: &Value| c["type"] == "Approved" || c["type"] == "Denied";
    let list = |v: &Value| v["conditions"].as_array().cloned().unwrap_or_default();
    let mut conditions: Vec<Value> = list(old).into_iter().filter(|c| decision(c)).collect();
    conditions.extend(list(status).into_iter().filter(|c| !decision(c)));
    if !conditions.is_empty() {
        status["conditions"] = Value::Array(conditions);
    }
}

fn stamp_conditions(context: &Context, status: &mut Value, old: &Value) {
    let Some(now) = context.now else { return };
    let now = json!(crate::time::rfc3339(now));
    let before: Vec<Value> = old["conditions"].as_array().cloned().unwrap_or_default();
    crate::defaults::each(status, "conditions", |c| {
        crate::defaults::set(c, "lastUpdateTime", now.clone());
        if c["lastTransitionTime"].is_null() {
            let same = before.iter().find(|b| b["type"] == c["type"] && b["status"] == c["status"]);
            let time = same.map(|b| b["lastTransitionTime"].clone()).filter(|t| !t.is_null());
            c["lastTransitionTime"] = time.unwrap_or_else(|| now.clone());
        }
    });
}
