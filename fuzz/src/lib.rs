//! What the targets share: the schemas that inputs are read by, and how an input is cut into parts.

use api_types::schema::{Schema, lookup};
use serde_json::Value;

/// Kinds whose messages use every construct of the schema table: maps, sets, quantities, free JSON, schemas in schemas.
const KINDS: [(&str, &str, &str); 8] = [
    ("", "v1", "Pod"),
    ("", "v1", "Service"),
    ("", "v1", "Secret"),
    ("apps", "v1", "Deployment"),
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
    ("coordination.k8s.io", "v1", "Lease"),
    ("resource.k8s.io", "v1", "ResourceClaim"),
    ("", "v1", "DeleteOptions"),
];

/// The first byte chooses the schema.
pub fn schema_and_body(input: &[u8]) -> Option<(Schema, &[u8])> {
    let (first, body) = input.split_first()?;
    let (group, version, kind) = KINDS[usize::from(*first) % KINDS.len()];
    Some((lookup(group, version, kind)?, body))
}

/// The parts of an input, between NUL bytes.
pub fn parts<const N: usize>(input: &[u8]) -> Option<[&[u8]; N]> {
    let parts: Vec<&[u8]> = input.splitn(N, |byte| *byte == 0).collect();
    parts.try_into().ok()
}

/// An object of the schema, as the server has one after decoding.
pub fn object(text: &[u8], schema: &Schema) -> Option<Value> {
    api_types::json::decode(text, schema).ok().map(|decoded| decoded.value)
}
