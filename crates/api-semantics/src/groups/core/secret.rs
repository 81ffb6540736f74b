//! Secret: typed data for pods.

use super::config_map::{MAX_SIZE, errors_of_key, frozen};
use base64::Engine;
use serde_json::Value;

use crate::checks::immutable;
use crate::defaults::{ensure, set_zero};
use crate::field::{Errors, Field};
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { default, validate, validate_change, warnings, ..Kind::PLAIN };

/// `stringData` is a way to write `data`; it is never stored.
fn default(secret: &mut Value) {
    set_zero(secret, "type", "Opaque");
    let Some(Value::Object(texts)) = secret.as_object_mut().and_then(|s| s.remove("stringData")) else { return };
    let data = ensure(secret, "data");
    for (key, text) in texts {
        let encoded = base64::engine::general_purpose::STANDARD.encode(text.as_str().unwrap_or(""));
        data[key] = Value::String(encoded);
    }
}

fn validate(secret: &Field, errors: &mut Errors) {
    let data = secret.get("data");
    let mut size = 0;
    for (key, value) in data.entries() {
        errors_of_key(key, &value, errors);
        size += value.len() / 4 * 3;
    }
    if size > MAX_SIZE {
        errors.too_long(&data, MAX_SIZE);
    }
    let annotations = secret.dig("metadata.annotations");
    match secret.str_of("type") {
        "kubernetes.io/service-account-token" => {
            let name = annotations.entry("kubernetes.io/service-account.name");
            if name.str().is_empty() {
                errors.required(&name, "");
            }
        }
        "kubernetes.io/dockercfg" => json_entry(&data, ".dockercfg", errors),
        "kubernetes.io/dockerconfigjson" => json_entry(&data, ".dockerconfigjson", errors),
        "kubernetes.io/basic-auth" if !has(&data, "username") && !has(&data, "password") => {
            errors.required(&data.entry("username"), "");
            errors.required(&data.entry("password"), "");
        }
        "kubernetes.io/ssh-auth" if data.entry("ssh-privatekey").is_empty() => {
            errors.required(&data.entry("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"] {
                if !has(&data, key) {
                    errors.required(&data.entry(key), "");
                }
            }
        }
        _ => {}
    }
}

fn has(data: &Field, key: &str) -> bool {
    data.value().get(key).is_some()
}

/// The entry must be there and hold JSON. Upstream hides its text.
fn json_entry(data: &Field, key: &str, errors: &mut Errors) {
    let entry = data.entry(key);
    if !has(data, key) {
        errors.required(&entry, "");
        return;
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(entry.str()).unwrap_or_default();
    if let Err(problem) = crate::go_json::check(&bytes) {
        errors.invalid_as(&entry, "<secret contents redacted>", problem);
    }
}

fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    immutable(&new.get("type"), &old.get("type"), errors);
    frozen(new, old, &["data"], errors);
}

/// A certificate that does not parse is stored all the same.
fn warnings(secret: &Field, _old: Option<&Field>, out: &mut Vec<String>) {
    if secret.str_of("type") != "kubernetes.io/tls" {
        return;
    }
    let text = |key: &str| {
        let entry = secret.get("data").entry(key);
        let bytes = base64::engine::general_purpose::STANDARD.decode(entry.str()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    if !text("tls.crt").contains("-----BEGIN ") {
        out.push("tls: failed to find any PEM data in certificate input".to_owned());
    } else if !text("tls.key").contains("-----BEGIN ") {
        out.push("tls: failed to find any PEM data in key input".to_owned());
    }
}
