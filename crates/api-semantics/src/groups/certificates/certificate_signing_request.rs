//! CertificateSigningRequest: a request for a client or serving certificate.

use base64::Engine;
use serde_json::{Value, json};
use std::collections::BTreeSet;

use crate::defaults::{drop_key, ensure, keep};
use crate::field::{Errors, Field};
use crate::kind::{Kind, empty_status};
use crate::object_meta::path_segment;
use crate::strategy::{Context, Part};

pub(crate) static KIND: Kind = Kind {
    initial_status: Some(empty_status),
    default: |o| {
        ensure(o, "status");
    },
    prepare_create,
    prepare_update,
    name: path_segment,
    validate_create: validate_spec,
    validate_part,
    resets: |part| match part {
        Part::Main => Some(&[&["spec"], &["status"]]),
        Part::Status => Some(&[&["spec"], &["status", "conditions"]]),
        Part::Other(_) => Some(&[&["spec"], &["status", "certificate"]]),
    },
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

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

fn validate_spec(request: &Field, errors: &mut Errors) {
    let spec = request.get("spec");
    let bytes = spec.get("request");
    if !holds_request(bytes.str()) {
        errors.invalid(&bytes, "PEM block type must be CERTIFICATE REQUEST");
    }
    let usages = spec.get("usages");
    if usages.is_empty() {
        errors.required(&usages, "");
    }
    let mut seen = BTreeSet::new();
    for usage in usages.items() {
        if !USAGES.contains(&usage.str()) {
            errors.not_supported(&usage, &USAGES);
        }
        if !seen.insert(usage.str()) {
            errors.duplicate(&usage);
        }
    }
    crate::certificates::signer_name(&spec.get("signerName"), errors);
    let expiration = spec.get("expirationSeconds");
    if expiration.exists() && expiration.int_or_zero() < 600 {
        errors.invalid(&expiration, "may not specify a duration less than 600 seconds (10 minutes)");
    }
}

/// Whether base64 text holds a PEM block of the right type; what is in the block is the signer's to judge.
fn holds_request(base64: &str) -> bool {
    let bytes = base64::engine::general_purpose::STANDARD.decode(base64).unwrap_or_default();
    String::from_utf8_lossy(&bytes).contains("-----BEGIN CERTIFICATE REQUEST-----")
}

/// Why base64 text is no chain of certificates in PEM; nothing at all is no error.
fn wrong_certificate(base64: &str) -> Option<String> {
    const BEGIN: &str = "-----BEGIN ";
    let bytes = base64::engine::general_purpose::STANDARD.decode(base64).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    if text.is_empty() {
        return None;
    }
    let mut kinds = text.lines().filter_map(|line| line.strip_prefix(BEGIN)?.strip_suffix("-----")).peekable();
    if kinds.peek().is_none() {
        return Some("must contain at least one CERTIFICATE PEM block".to_owned());
    }
    let other = kinds.find(|kind| *kind != "CERTIFICATE")?;
    Some(format!("only CERTIFICATE PEM blocks are allowed, found \"{other}\""))
}

/// Decisions cannot be taken back, nor can a certificate be replaced.
fn validate_part(part: Part, new: &Field, old: &Field, errors: &mut Errors) {
    let (status, before) = (new.get("status"), old.get("status"));
    let conditions = status.get("conditions");
    let has = |kind: &str| conditions.items().any(|c| c.str_of("type") == kind);
    if has("Approved") && has("Denied") {
        errors.invalid(&conditions, "Approved and Denied conditions are mutually exclusive");
    }
    for condition in conditions.items() {
        let (kind, value) = (condition.get("type"), condition.get("status"));
        crate::checks::required(&kind, errors);
        if value.str().is_empty() {
            errors.required(&value, "");
        } else if matches!(kind.str(), "Approved" | "Denied" | "Failed") && value.str() != "True" {
            errors.not_supported(&value, &["True"]);
        } else {
            crate::checks::one_of(&value, &["False", "True", "Unknown"], errors);
        }
    }
    for kind in ["Approved", "Denied", "Failed"] {
        let count = |f: &Field| f.get("conditions").items().filter(|c| c.str_of("type") == kind).count();
        if count(&before) > count(&status) {
            errors.forbidden(&conditions, format!("updates may not remove a condition of type \"{kind}\""));
        }
    }
    let certificate = status.get("certificate");
    let known = before.str_of("certificate");
    // What got in under older rules may stay.
    if (known.is_empty() || wrong_certificate(known).is_none())
        && let Some(why) = wrong_certificate(certificate.str())
    {
        errors.invalid_as(&certificate, "<certificate data>", why);
    }
    if part == Part::Status
        && !before.get("certificate").is_empty()
        && certificate.str() != before.str_of("certificate")
    {
        errors.forbidden(&certificate, "updates may not set certificate content");
    }
}
