//! `admission.k8s.io` AdmissionReview: the question to a webhook, and what its answer means. Pure.

use api_types::{Cause, Details};
use apiserver::error::Error;
use base64::{Engine, engine::general_purpose::STANDARD};
use json_patch::PatchOperation;
use serde_json::{Value, json};

use crate::webhook_client::ReviewVersion as Version;

/// The review of a request with its objects (null where there is none).
pub(super) fn question(version: Version, uid: &str, request: Value, object: Value, old: Value) -> Value {
    let mut request = request;
    request["uid"] = uid.into();
    request["object"] = object;
    request["oldObject"] = old;
    json!({"kind": "AdmissionReview", "apiVersion": version.of_group("admission.k8s.io"), "request": request})
}

/// What a webhook said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Answer {
    pub(super) allowed: bool,
    pub(super) warnings: Vec<String>,
    /// What it adds to the audit log.
    pub(super) annotations: Vec<(String, String)>,
    /// A document, and what kind of patch it is.
    pub(super) patch: Option<Vec<u8>>,
    pub(super) patch_type: String,
    /// Why not; null if it does not say.
    pub(super) status: Value,
}

/// Reads an answer.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(review: &Value, version: Version, uid: &str, mutating: bool) -> Result<Answer, String> {
    let response = &review["response"];
    if !response.is_object() {
        return Err("webhook response was absent".to_owned());
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let patch = STANDARD.decode(text(&response["patch"])).map_err(|e| format!("response.patch: {e}"))?;
    let patch_type = response["patchType"].as_str();
    if version == Version::V1 {
        check_identity(review, version, uid)?;
        check_patch(&patch, patch_type, mutating)?;
    }
    let warnings = response["warnings"].as_array().into_iter().flatten();
    let annotations = response["auditAnnotations"].as_object().into_iter().flatten();
    Ok(Answer {
        allowed: response["allowed"] == true,
        warnings: warnings.filter_map(|w| w.as_str().map(str::to_owned)).collect(),
        annotations: annotations.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect(),
        patch_type: patch_type.unwrap_or("JSONPatch").to_owned(),
        patch: Some(patch).filter(|p| mutating && !p.is_empty()),
        status: response.get("status").cloned().unwrap_or_default(),
    })
}

fn check_identity(review: &Value, version: Version, uid: &str) -> Result<(), String> {
    let found = review["response"]["uid"].as_str().unwrap_or_default();
    if found != uid {
        return Err(format!("expected response.uid={uid:?}, got {found:?}"));
    }
    let kind = |api_version: &str, kind: &str| {
        let slash = if api_version.contains('/') { "" } else { "/" };
        format!("{slash}{api_version}, Kind={kind}")
    };
    let text = |name: &str| review[name].as_str().unwrap_or_default();
    let (wanted, found) =
        (kind(&version.of_group("admission.k8s.io"), "AdmissionReview"), kind(text("apiVersion"), text("kind")));
    if found == wanted { Ok(()) } else { Err(format!("expected webhook response of {wanted}, got {found}")) }
}

fn check_patch(patch: &[u8], patch_type: Option<&str>, mutating: bool) -> Result<(), String> {
    let wrong = match (mutating, patch.is_empty(), patch_type) {
        (true, false, None) => "webhook returned response.patch but not response.patchType",
        (true, true, Some(_)) => "webhook returned response.patchType but not response.patch",
        (true, false, Some("")) => "webhook returned invalid response.patchType of \"\"",
        (false, false, _) => "validating webhook may not return response.patch",
        (false, true, Some(_)) => "validating webhook may not return response.patchType",
        _ => return Ok(()),
    };
    Err(wrong.to_owned())
}

/// The operations of a JSON patch.
///
/// # Errors
/// The document is none.
pub(super) fn operations(patch: &[u8]) -> Result<Vec<PatchOperation>, String> {
    serde_json::from_slice(patch).map_err(|e| e.to_string())
}

/// What the client of a refused request is told: the webhook's status, at least 400, with its name.
pub(super) fn refusal(webhook: &str, status: &Value) -> Error {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (message, reason) = (text(&status["message"]), text(&status["reason"]));
    let because = match (message.as_str(), reason.as_str()) {
        ("", "") => " without explanation".to_owned(),
        ("", why) | (why, _) => format!(": {why}"),
    };
    let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or_default().max(400);
    let mut error = Error::new(code, reason, format!("admission webhook {webhook:?} denied the request{because}"));
    let details = &status["details"];
    if details.is_object() {
        let cause = |cause: &Value| Cause {
            reason: text(&cause["reason"]),
            message: text(&cause["message"]),
            field: text(&cause["field"]),
        };
        *error.details_mut() = Details {
            name: text(&details["name"]),
            group: text(&details["group"]),
            kind: text(&details["kind"]),
            uid: text(&details["uid"]),
            causes: details["causes"].as_array().into_iter().flatten().map(cause).collect(),
            retry_after_seconds: details["retryAfterSeconds"].as_u64().unwrap_or_default() as u32,
        };
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review(response: Value) -> Value {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    }

    #[test]
    fn answers_are_checked() {
        let patch = STANDARD.encode("[]");
        for (answer, mutating, expected) in [
            (json!({}), true, "webhook response was absent"),
            (review(json!({"uid": "v"})), true, "expected response.uid=\"u\", got \"v\""),
            (
                json!({"response": {"uid": "u"}}),
                true,
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind=",
            ),
            (
                review(json!({"uid": "u", "patch": patch})),
                true,
                "webhook returned response.patch but not response.patchType",
            ),
            (
                review(json!({"uid": "u", "patchType": "JSONPatch"})),
                true,
                "webhook returned response.patchType but not response.patch",
            ),
            (
                review(json!({"uid": "u", "patch": patch, "patchType": ""})),
                true,
                "webhook returned invalid response.patchType of \"\"",
            ),
            (review(json!({"uid": "u", "patch": patch})), false, "validating webhook may not return response.patch"),
            (
                review(json!({"uid": "u", "patchType": "x"})),
                false,
                "validating webhook may not return response.patchType",
            ),
        ] {
            assert_eq!(read(&answer, Version::V1, "u", mutating).expect_err("is wrong"), expected);
        }
        let fine =
            review(json!({"uid": "u", "allowed": true, "warnings": ["w"], "patch": patch, "patchType": "JSONPatch"}));
        let answer = read(&fine, Version::V1, "u", true).expect("is fine");
        assert_eq!(
            (answer.allowed, answer.warnings.as_slice(), answer.patch),
            (true, &["w".to_owned()][..], Some(b"[]".to_vec()))
        );
        let old = json!({"response": {"allowed": true, "patch": patch}});
        assert_eq!(read(&old, Version::V1beta1, "u", true).expect("is fine").patch_type, "JSONPatch");
    }

    #[test]
    fn refusals_carry_the_webhooks_status() {
        let denied = "admission webhook \"w\" denied the request";
        for (status, code, reason, message) in [
            (Value::Null, 400, "", " without explanation"),
            (json!({"message": "no"}), 400, "", ": no"),
            (json!({"reason": "too big", "code": 413}), 413, "too big", ": too big"),
            (json!({"reason": "Forbidden", "message": "no", "code": 200}), 400, "Forbidden", ": no"),
        ] {
            let error = refusal("w", &status);
            assert_eq!(
                (error.code, error.reason.as_ref(), error.message),
                (code, reason, format!("{denied}{message}"))
            );
        }
        let error = refusal("w", &json!({"details": {"causes": [{"field": "spec", "message": "m"}]}}));
        assert_eq!(error.to_status()["details"], json!({"causes": [{"field": "spec", "message": "m"}]}));
    }
}
