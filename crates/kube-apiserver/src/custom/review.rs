//! `apiextensions.k8s.io` ConversionReview: the question to a conversion webhook, and what its answer means. Pure.

use serde_json::{Value, json};

use crate::webhook_client::ReviewVersion as Version;

/// What a webhook may not change of an object's metadata, and how refusals call it. Everything else but labels and annotations is put back as
/// it was.
const IDENTITY: [(&str, &str); 3] = [("name", "name"), ("namespace", "namespace"), ("uid", "UID")];

/// Why an answer is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It is none, or says that the webhook failed.
    Call,
    /// It has too few objects, or too many.
    Partial,
    /// An object in it is not what was asked for.
    Object,
}

/// The review that asks for `objects` in another version.
pub(super) fn question(version: Version, uid: &str, desired: &str, objects: &[Value]) -> Value {
    let request = json!({"uid": uid, "desiredAPIVersion": desired, "objects": objects});
    json!({"kind": "ConversionReview", "apiVersion": version.of_group("apiextensions.k8s.io"), "request": request})
}

/// The converted objects. The error says what is wrong, to stand behind "conversion webhook for ...".
pub(super) fn read(
    review: &Value,
    version: Version,
    uid: &str,
    desired: &str,
    objects: &[Value],
) -> Result<Vec<Value>, (Failure, String)> {
    let converted = answered(review, version, uid).map_err(|why| (Failure::Call, format!(" failed: {why}")))?;
    if converted.len() != objects.len() {
        let why = format!(" returned {} objects, expected {}", converted.len(), objects.len());
        return Err((Failure::Partial, why));
    }
    let word = if objects.len() == 1 { "" } else { "converted " };
    let mut made = Vec::with_capacity(converted.len());
    for (index, (original, converted)) in objects.iter().zip(converted).enumerate() {
        let invalid = |why: &str| format!(" returned invalid {word}object at index {index}: {why}");
        check(original, converted, desired).map_err(|why| (Failure::Object, invalid(&why)))?;
        let restored = with_metadata_of(original, converted);
        let broken = |why: String| match objects.len() {
            1 => format!(" returned invalid metadata: {why}"),
            _ => format!(" returned invalid metadata in object at index {index}: {why}"),
        };
        made.push(restored.map_err(|why| (Failure::Object, broken(why)))?);
    }
    Ok(made)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn answered<'a>(review: &'a Value, version: Version, uid: &str) -> Result<&'a [Value], String> {
    if version == Version::V1 {
        let kind = |of: &str, kind: &str| format!("{}, Kind={kind}", if of.is_empty() { "/" } else { of });
        let found = kind(text(review, "apiVersion"), text(review, "kind"));
        let wanted = kind(&version.of_group("apiextensions.k8s.io"), "ConversionReview");
        if found != wanted {
            return Err(format!("expected webhook response of {wanted}, got {found}"));
        }
    }
    let response = &review["response"];
    if !response.is_object() {
        return Err("no response provided".to_owned());
    }
    let found = text(response, "uid");
    if version == Version::V1 && found != uid {
        return Err(format!("expected response.uid={uid:?}, got {found:?}"));
    }
    match (text(&response["result"], "status"), text(&response["result"], "message")) {
        ("Success", _) => Ok(response["convertedObjects"].as_array().map_or(&[], Vec::as_slice)),
        (status, "") => Err(format!("response.result.status was '{status}', not 'Success'")),
        (_, message) => Err(message.to_owned()),
    }
}

/// Whether `made` is the object that it was made from, in the version that was asked for.
fn check(original: &Value, made: &Value, desired: &str) -> Result<(), String> {
    let found = text(made, "apiVersion");
    if found != desired {
        return Err(format!("invalid groupVersion (expected {desired}, received {found})"));
    }
    let (wanted, found) = (text(original, "kind"), text(made, "kind"));
    if found != wanted {
        return Err(format!("invalid kind (expected {wanted}, received {found})"));
    }
    for (field, called) in IDENTITY {
        let (wanted, found) = (text(&original["metadata"], field), text(&made["metadata"], field));
        if wanted != found {
            return Err(format!("must have the same {called}: {wanted} != {found}"));
        }
    }
    Ok(())
}

/// The converted object with the metadata of the original, but for labels and annotations.
fn with_metadata_of(original: &Value, made: &Value) -> Result<Value, String> {
    let given = match made.get("metadata") {
        None => return Err("missing metadata in converted object".to_owned()),
        Some(Value::Object(given)) => given,
        Some(other) => return Err(format!("invalid metadata of type {} in converted object", go_type(other))),
    };
    let mut metadata = original["metadata"].as_object().cloned().unwrap_or_default();
    for field in ["labels", "annotations"] {
        match given.get(field).filter(|value| !value.is_null()) {
            None => drop(metadata.remove(field)),
            Some(Value::Object(texts)) => {
                if let Some((key, value)) = texts.iter().find(|(_, value)| !value.is_string()) {
                    let kind = go_type(value);
                    return Err(format!("metadata.{field}[{key}] must be a string, but is {kind} in converted object"));
                }
                metadata.insert(field.to_owned(), Value::Object(texts.clone()));
            }
            Some(other) => {
                return Err(format!("invalid metadata.{field} of type {} in converted object", go_type(other)));
            }
        }
    }
    let metadata = Value::Object(metadata);
    if metadata != original["metadata"] {
        let mut errors =
            api_semantics::check_labels_and_annotations(&metadata).iter().map(ToString::to_string).collect::<Vec<_>>();
        match errors.len() {
            0 => {}
            1 => return Err(errors.remove(0)),
            _ => return Err(format!("[{}]", errors.join(", "))),
        }
    }
    let mut made = made.clone();
    made["metadata"] = metadata;
    Ok(made)
}

/// As Go calls the type of a JSON value.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(version: &str, metadata: Value) -> Value {
        json!({"apiVersion": format!("x.io/{version}"), "kind": "Widget", "metadata": metadata})
    }

    fn answer(result: Value, objects: &[Value]) -> Value {
        let response = json!({"uid": "u", "result": result, "convertedObjects": objects});
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response})
    }

    fn judged(review: &Value, version: Version, of: &[Value]) -> Result<Vec<Value>, (Failure, String)> {
        read(review, version, "u", "x.io/v2", of)
    }

    #[test]
    fn only_labels_and_annotations_of_the_metadata_are_taken() {
        let before = object("v1", json!({"name": "a", "uid": "1", "generation": 3, "labels": {"a": "b"}}));
        let made = object("v2", json!({"name": "a", "uid": "1", "generation": 9, "annotations": {"c": "d"}}));
        let review = answer(json!({"status": "Success"}), &[made]);
        let converted = judged(&review, Version::V1, std::slice::from_ref(&before)).expect("is fine");
        let wanted = json!({"name": "a", "uid": "1", "generation": 3, "annotations": {"c": "d"}});
        assert_eq!(converted, [object("v2", wanted)]);
        let mut old = review;
        old["response"]["uid"] = "other".into();
        old["kind"] = "".into();
        judged(&old, Version::V1beta1, &[before]).expect("v1beta1 does not look at that");
    }

    #[test]
    fn answers_are_checked() {
        let (one, good) = (object("v1", json!({"name": "a"})), json!({"status": "Success"}));
        let made = |metadata| answer(good.clone(), &[object("v2", metadata)]);
        let mut other = made(json!({"name": "a"}));
        other["response"]["uid"] = "other".into();
        let mut kind = made(json!({"name": "a"}));
        kind["response"]["convertedObjects"][0]["kind"] = "Gadget".into();
        let at = " returned invalid object at index 0:";
        for (review, failure, expected) in [
            (
                json!({}),
                Failure::Call,
                " failed: expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got /, Kind="
                    .to_owned(),
            ),
            (other, Failure::Call, " failed: expected response.uid=\"u\", got \"other\"".to_owned()),
            (answer(json!({"status": "Failure", "message": "no"}), &[]), Failure::Call, " failed: no".to_owned()),
            (answer(json!({}), &[]), Failure::Call, " failed: response.result.status was '', not 'Success'".to_owned()),
            (answer(good.clone(), &[]), Failure::Partial, " returned 0 objects, expected 1".to_owned()),
            (
                answer(good.clone(), std::slice::from_ref(&one)),
                Failure::Object,
                format!("{at} invalid groupVersion (expected x.io/v2, received x.io/v1)"),
            ),
            (kind, Failure::Object, format!("{at} invalid kind (expected Widget, received Gadget)")),
            (made(json!({"name": "b"})), Failure::Object, format!("{at} must have the same name: a != b")),
            (made(json!({"name": "a", "uid": "2"})), Failure::Object, format!("{at} must have the same UID:  != 2")),
            (
                made(json!({"name": "a", "labels": {"a": 1}})),
                Failure::Object,
                " returned invalid metadata: metadata.labels[a] must be a string, but is int64 in converted object"
                    .to_owned(),
            ),
            (
                made(json!({"name": "a", "labels": ["a"]})),
                Failure::Object,
                " returned invalid metadata: invalid metadata.labels of type []interface {} in converted object"
                    .to_owned(),
            ),
        ] {
            assert_eq!(judged(&review, Version::V1, std::slice::from_ref(&one)), Err((failure, expected)));
        }
        let wrong = made(json!({"name": "a", "labels": {"-": ""}}));
        let (_, why) = judged(&wrong, Version::V1, std::slice::from_ref(&one)).expect_err("is no label");
        assert!(why.starts_with(" returned invalid metadata: metadata.labels: Invalid value: \"-\""), "{why}");
        let two = [one.clone(), object("v1", json!({"name": "b"}))];
        let swapped = answer(good, &[object("v2", json!({"name": "b"})), object("v2", json!({"name": "a"}))]);
        let (_, why) = judged(&swapped, Version::V1, &two).expect_err("another order");
        assert_eq!(why, " returned invalid converted object at index 0: must have the same name: a != b");
    }
}
