//! ClusterTrustBundle: X.509 trust anchors.

use std::collections::BTreeMap;

use x509_parser::pem::Pem;

use crate::certificates::signer_name;
use crate::checks::{IMMUTABLE, same};
use crate::field::{Errors, Field};
use crate::kind::Kind;
use crate::names;
use crate::object_meta::any_name;

const MAX_SIZE: usize = 1024 * 1024;

pub(crate) static KIND: Kind =
    Kind { name: any_name, validate, validate_create: anchors, validate_change, ..Kind::CLUSTER };

fn validate(bundle: &Field, errors: &mut Errors) {
    let signer = bundle.dig("spec.signerName");
    for name in ["generateName", "name"].map(|name| bundle.get("metadata").get(name)) {
        if !name.str().is_empty() {
            errors.invalid_each(&name, name_problems(name.str(), signer.str()));
        }
    }
    if !signer.str().is_empty() {
        signer_name(&signer, errors);
    }
}

/// A bundle of a signer is called after it.
fn name_problems(name: &str, signer: &str) -> Vec<String> {
    if signer.is_empty() {
        return match name.contains(':') {
            true => vec!["ClusterTrustBundle without signer name must not have \":\" in its name".to_owned()],
            false => names::dns1123_subdomain(name),
        };
    }
    let prefix = format!("{}:", signer.replace('/', ":"));
    match name.strip_prefix(&prefix) {
        Some(rest) => names::dns1123_subdomain(rest),
        None => vec![format!("ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}")],
    }
}

/// Certificates of authorities, each once. The text is too long to show.
fn anchors(bundle: &Field, errors: &mut Errors) {
    let text = bundle.dig("spec.trustBundle");
    if text.len() > MAX_SIZE {
        errors.too_long(&text, MAX_SIZE);
        return;
    }
    let mut seen: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
    let mut problems = Vec::new();
    for (i, block) in Pem::iter_from_buffer(text.str().as_bytes()).flatten().enumerate() {
        match problem(&block) {
            Some(problem) => problems.push(format!("entry {i} {problem}")),
            None => seen.entry(block.contents).or_default().push(i),
        }
    }
    if problems.is_empty() && seen.is_empty() {
        problems.push("at least one trust anchor must be provided".to_owned());
    } else if problems.is_empty() {
        let repeated = seen.values().filter(|places| places.len() > 1);
        problems.extend(repeated.map(|places| format!("duplicate trust anchor (indices {})", list(places))));
    }
    for problem in problems {
        errors.invalid_as(&text, "<value omitted>", problem);
    }
}

fn list(places: &[usize]) -> String {
    let places: Vec<String> = places.iter().map(usize::to_string).collect();
    format!("[{}]", places.join(" "))
}

fn problem(block: &Pem) -> Option<String> {
    if block.label != "CERTIFICATE" {
        return Some(format!("has bad block type: {}", block.label));
    }
    match block.parse_x509() {
        Err(_) => Some("does not parse as X.509".to_owned()),
        Ok(certificate) if !certificate.is_ca() => Some("does not have the CA bit set".to_owned()),
        Ok(_) => None,
    }
}

/// The signer stays; other certificates are looked at like new ones.
fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    let signer = new.dig("spec.signerName");
    if signer.str() != old.dig("spec.signerName").str() {
        errors.invalid_str(&signer, IMMUTABLE);
    }
    if !same(&new.dig("spec.trustBundle"), &old.dig("spec.trustBundle")) {
        anchors(new, errors);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_follow_the_signer() {
        assert!(name_problems("a.b", "").is_empty() && !name_problems("a:b", "").is_empty());
        assert!(name_problems("example.com:s:a", "example.com/s").is_empty());
        assert!(!name_problems("a", "example.com/s").is_empty());
    }

    #[test]
    fn only_authorities_are_anchors() {
        let found = |text: &str| {
            let mut errors = Errors::default();
            anchors(&Field::root(&json!({"spec": {"trustBundle": text}})), &mut errors);
            errors.into_vec().into_iter().map(|e| e.message).collect::<Vec<_>>().join("; ")
        };
        assert!(found("").contains("at least one trust anchor"));
        let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(found(bad).contains("entry 0 does not parse as X.509"));
        assert!(found(&bad.replace("CERTIFICATE", "X")).contains("entry 0 has bad block type: X"));
    }
}
