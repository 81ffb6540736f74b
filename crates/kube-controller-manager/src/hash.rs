//! The hash of a pod template that names ReplicaSets and labels pods: FNV-1a over the template's JSON (whose field and map order is
//! fixed) and the collision count, in upstream's alphabet of safe characters.
//!
//! It need not equal upstream's: an existing ReplicaSet is recognised by its template, not by its hash.

use api_types::k8s_openapi::api::core::v1::PodTemplateSpec;
use serde::Serialize;

const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The hash of a template.
pub(crate) fn template_hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    safe(fnv(template, collisions))
}

/// FNV-1a (32 bit) over a value's JSON and a collision count.
pub(crate) fn fnv<T: Serialize>(value: &T, collisions: Option<i32>) -> u32 {
    // A k8s-openapi type always serializes; were it not so, the empty text still is a stable hash.
    let text = serde_json::to_vec(value).unwrap_or_default();
    let count = collisions.map(i32::to_le_bytes);
    let bytes = text.iter().chain(count.iter().flatten());
    bytes.fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// A number in decimal digits mapped to safe characters.
pub(crate) fn safe(number: u32) -> String {
    number.to_string().bytes().map(|b| char::from(ALPHABET[usize::from(b) % ALPHABET.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_and_sensitive_to_collisions() {
        let template = PodTemplateSpec::default();
        assert_eq!(fnv(&(), None), fnv(&(), None));
        assert_ne!(template_hash(&template, None), template_hash(&template, Some(1)));
        assert!(safe(u32::MAX).bytes().all(|b| ALPHABET.contains(&b)));
        // "null" hashed by the reference implementation.
        assert_eq!(fnv(&(), None), 0x77074ba4);
    }
}
