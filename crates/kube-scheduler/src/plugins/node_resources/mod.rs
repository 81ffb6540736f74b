//! NodeResourcesFit and NodeResourcesBalancedAllocation: what the pod requests against what the node has left.

mod balanced;
mod fit;
mod strategy;

pub(super) use balanced::DESCRIPTOR as BALANCED;
pub(super) use fit::DESCRIPTOR as FIT;

use serde::Deserialize;

/// A resource in a score and its weight among the others.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Weighted {
    name: String,
    #[serde(default)]
    weight: i64,
}

fn cpu_and_memory() -> Vec<Weighted> {
    ["cpu", "memory"].map(|name| Weighted { name: name.to_owned(), weight: 1 }).into()
}

/// Whether a pod that requests none of it is indifferent to it.
fn is_optional(name: &str) -> bool {
    crate::cache::resources::is_scalar(name)
}
