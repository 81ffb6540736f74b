//! ImageLocality: a node that has the pod's images already is better, the more so the more nodes have them.

use std::sync::Arc;

use crate::{
    cache::NodeInfo,
    framework::{Context, Descriptor, MAX_SCORE, NodeScorer, Plugin, Point, PreScore},
};

pub(super) const DESCRIPTOR: Descriptor =
    Descriptor { name: "ImageLocality", points: &[Point::Score], weight: 1, build: |_| Ok(Arc::new(ImageLocality)) };

/// Images that are together smaller than this make no difference.
const MIN_BYTES: i64 = 23 * 1024 * 1024;
/// More than this per container makes no further difference.
const MAX_BYTES_PER_CONTAINER: i64 = 1000 * 1024 * 1024;

struct ImageLocality;

struct Scorer {
    /// Images that some node has, with the part of the nodes that have them.
    images: Vec<(String, f64)>,
    /// What makes no further difference, in bytes.
    most: i64,
}

impl Plugin for ImageLocality {
    fn pre_score<'a>(&'a self, cx: Context<'a>, _feasible: &[&'a NodeInfo]) -> PreScore<'a> {
        let containers =
            cx.pod.spec().into_iter().flat_map(|s| s.init_containers.iter().flatten().chain(&s.containers));
        let names: Vec<String> = containers.map(|c| normalized(c.image.as_deref().unwrap_or_default())).collect();
        let most = MAX_BYTES_PER_CONTAINER * names.len() as i64;
        let spread = |name: String| {
            let on = cx.snapshot.image_nodes(&name);
            (on > 0).then(|| (name, on as f64 / cx.snapshot.len() as f64))
        };
        PreScore::score(Scorer { images: names.into_iter().filter_map(spread).collect(), most })
    }
}

/// The name as nodes report it: with a tag.
fn normalized(image: &str) -> String {
    let tagged = image.rfind(':').is_some_and(|colon| image.rfind('/').is_none_or(|slash| colon > slash));
    if tagged { image.to_owned() } else { format!("{image}:latest") }
}

impl NodeScorer for Scorer {
    fn score(&self, node: &NodeInfo) -> i64 {
        let share = |(name, spread): &(String, f64)| node.images.get(name).map(|size| (*size as f64 * spread) as i64);
        let sum: i64 = self.images.iter().filter_map(share).sum();
        MAX_SCORE * (sum.clamp(MIN_BYTES, self.most) - MIN_BYTES) / (self.most - MIN_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_a_tag() {
        let table = [
            ("web", "web:latest"),
            ("web:v1", "web:v1"),
            ("host:5000/web", "host:5000/web:latest"),
            ("host:5000/web:v1", "host:5000/web:v1"),
        ];
        for (given, want) in table {
            assert_eq!(normalized(given), want);
        }
    }
}
