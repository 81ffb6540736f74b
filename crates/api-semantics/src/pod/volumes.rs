//! Validation of a pod's volumes.

use std::collections::BTreeMap;

use super::env::downward_file;
use super::spec::Owner;
use super::volume_sources::{self, SOURCES};
use crate::checks::required;
use crate::field::{Errors, Field};
use crate::names;

/// The valid volumes of a pod by name; containers may mount only these.
pub(super) type Volumes<'a> = BTreeMap<&'a str, Field<'a>>;

pub(super) fn validate<'a>(spec: &Field<'a>, owner: &Owner, errors: &mut Errors) -> Volumes<'a> {
    let mut volumes = Volumes::new();
    for volume in spec.get("volumes").items() {
        let before = errors.len();
        let name = volume.get("name");
        source(&volume, owner, errors);
        if name.str().is_empty() {
            errors.required(&name, "");
        } else {
            let messages = names::dns1123_label(name.str());
            if !messages.is_empty() {
                errors.invalid_each(&name, messages);
            } else if volumes.contains_key(name.str()) {
                errors.duplicate(&name);
            }
        }
        if errors.len() == before {
            volumes.insert(name.str(), volume);
        }
    }
    volumes
}

fn source(volume: &Field, owner: &Owner, errors: &mut Errors) {
    let set: Vec<&str> = SOURCES.iter().copied().filter(|s| volume.has(s)).collect();
    if set.is_empty() {
        errors.required(volume, "must specify a volume type");
    }
    for (i, name) in set.iter().enumerate() {
        let field = volume.get(name);
        if i > 0 {
            errors.forbidden(&field, "may not specify more than 1 volume type");
            continue;
        }
        match *name {
            "secret" => files(&field, "secretName", errors),
            "configMap" => files(&field, "name", errors),
            "downwardAPI" => {
                mode(&field.get("defaultMode"), errors);
                for item in field.get("items").items() {
                    downward_file(&item, &field, errors);
                }
            }
            "projected" => projected(&field, errors),
            "ephemeral" => ephemeral(volume, &field, owner, errors),
            _ => volume_sources::validate(name, &field, errors),
        }
    }
}

/// A file mode between 0 and 0777.
pub(super) fn mode(field: &Field, errors: &mut Errors) {
    if field.exists() && !(0..=0o777).contains(&field.int_or_zero()) {
        errors.invalid(field, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

fn files(source: &Field, name: &str, errors: &mut Errors) {
    required(&source.get(name), errors);
    mode(&source.get("defaultMode"), errors);
    for item in source.get("items").items() {
        key_to_path(&item, errors);
    }
}

fn key_to_path(item: &Field, errors: &mut Errors) {
    required(&item.get("key"), errors);
    let path = item.get("path");
    required(&path, errors);
    local_path(&path, errors);
    mode(&item.get("mode"), errors);
}

/// A relative path that does not climb.
pub(super) fn descending_path(path: &Field, errors: &mut Errors) {
    if path.str().starts_with('/') {
        errors.invalid(path, "must be a relative path");
    }
    no_backsteps(path, errors);
}

pub(super) fn no_backsteps(path: &Field, errors: &mut Errors) {
    if path.str().split('/').any(|part| part == "..") {
        errors.invalid(path, "must not contain '..'");
    }
}

/// The same, and it does not start with two dots: those names are the volume's own.
pub(super) fn local_path(path: &Field, errors: &mut Errors) {
    descending_path(path, errors);
    if path.str().starts_with("..") && !path.str().starts_with("../") {
        errors.invalid(path, "must not start with '..'");
    }
}

fn projected(volume: &Field, errors: &mut Errors) {
    mode(&volume.get("defaultMode"), errors);
    let mut paths = std::collections::BTreeSet::new();
    for source in volume.get("sources").items() {
        let set: Vec<Field> =
            ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate"]
                .iter()
                .filter(|n| source.has(n))
                .map(|n| source.get(n))
                .collect();
        if set.len() > 1 {
            errors.forbidden(&source, "may not specify more than 1 volume type");
        }
        projection(&source, volume, errors);
        for item in set.iter().flat_map(|s| s.get("items").items().collect::<Vec<_>>()) {
            let path = item.str_of("path");
            if !path.is_empty() && !paths.insert(path) {
                let name = set[0].str_of("name");
                errors.invalid_as(volume, name, "conflicting duplicate paths");
            }
        }
    }
}

fn projection(source: &Field, volume: &Field, errors: &mut Errors) {
    for name in ["secret", "configMap"] {
        let part = source.get(name);
        if part.exists() {
            required(&part.get("name"), errors);
            for item in part.get("items").items() {
                key_to_path(&item, errors);
            }
        }
    }
    let api = source.get("downwardAPI");
    for item in api.get("items").items() {
        downward_file(&item, &api, errors);
    }
    let token = source.get("serviceAccountToken");
    if token.exists() {
        service_account_token(&token, volume, errors);
    }
    let bundle = source.get("clusterTrustBundle");
    if bundle.exists() {
        trust_bundle(&bundle, errors);
    }
}

/// Tokens need an account to speak for. Said apart from the volume's own errors, so that its mounts are found.
pub(super) fn token_accounts(spec: &Field, errors: &mut Errors) {
    if !spec.str_of("serviceAccountName").is_empty() {
        return;
    }
    for volume in spec.get("volumes").items() {
        for source in volume.dig("projected.sources").items().filter(|s| s.has("serviceAccountToken")) {
            errors.forbidden(
                &source.get("serviceAccountToken"),
                "must not be specified when serviceAccountName is not set",
            );
        }
    }
}

fn service_account_token(token: &Field, volume: &Field, errors: &mut Errors) {
    let expiration = token.get("expirationSeconds");
    if expiration.int_or_zero() < 600 {
        errors.invalid_int(&expiration, "may not specify a duration less than 10 minutes");
    } else if expiration.int_or_zero() > 1 << 32 {
        errors.invalid_int(&expiration, "may not specify a duration larger than 2^32 seconds");
    }
    let path = Field::at(token.get("path").value(), volume.path().child("path"));
    if path.str().is_empty() {
        errors.required(&path, "");
    } else {
        local_path(&path, errors);
    }
}

fn trust_bundle(bundle: &Field, errors: &mut Errors) {
    let (name, signer) = (bundle.get("name"), bundle.get("signerName"));
    match (name.exists(), signer.exists()) {
        (true, true) => errors.invalid(bundle, "only one of name and signerName may be used"),
        (false, false) => errors.required(bundle, "either name or signerName must be specified"),
        _ => {}
    }
    required(&bundle.get("path"), errors);
    local_path(&bundle.get("path"), errors);
}

fn ephemeral(volume: &Field, source: &Field, owner: &Owner, errors: &mut Errors) {
    let template = source.get("volumeClaimTemplate");
    if template.exists() {
        crate::object_meta::labels(&template.dig("metadata.labels"), errors);
        crate::groups::core::claim_spec(&template.get("spec"), errors);
        crate::groups::core::source_groups(&template.get("spec"), None, errors);
    } else {
        errors.required(&template, "");
    }
    let name = volume.get("name");
    if let Owner::Pod(pod) = owner
        && !pod.is_empty()
        && !name.str().is_empty()
    {
        let claim = format!("{pod}-{}", name.str());
        for message in names::dns1123_subdomain(&claim) {
            errors.invalid(&name, format!("PVC name \"{claim}\": {message}"));
        }
    }
}
