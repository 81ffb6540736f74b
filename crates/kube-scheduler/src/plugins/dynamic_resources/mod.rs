//! DynamicResources: devices through resource claims. Allocation is not there yet: a pod with claims stays pending and says why.

use std::{borrow::Cow, sync::Arc};

use crate::{
    cache::NodeInfo,
    framework::{
        Code, Context, CycleState, Descriptor, Failed, NodeScorer, Plugin, Point, PostFilter, PreFilter, PreScore,
        Refusal,
    },
};

pub(super) const DESCRIPTOR: Descriptor = Descriptor {
    name: "DynamicResources",
    points: &[Point::PreFilter, Point::Filter, Point::PostFilter, Point::PreScore, Point::Score],
    weight: 2,
    build: |_| Ok(Arc::new(DynamicResources)),
};

const UNSUPPORTED: Refusal = Refusal::fixed(
    Code::Unresolvable,
    &[Cow::Borrowed("pod uses resource claims, which this scheduler does not allocate yet")],
);

struct DynamicResources;

struct Indifferent;

impl Plugin for DynamicResources {
    fn pre_filter<'a>(&'a self, cx: Context<'a>, _state: &mut CycleState) -> PreFilter<'a> {
        let claims = cx.pod.spec().and_then(|s| s.resource_claims.as_deref()).unwrap_or_default();
        if claims.is_empty() { PreFilter::Skip } else { PreFilter::Refuse(UNSUPPORTED) }
    }

    fn post_filter(&self, _failed: &Failed<'_, '_>) -> PostFilter {
        PostFilter { message: Cow::Borrowed("no new claims to deallocate"), ..PostFilter::default() }
    }

    fn pre_score<'a>(&'a self, _cx: Context<'a>, _feasible: &[&'a NodeInfo]) -> PreScore<'a> {
        PreScore::score(Indifferent)
    }
}

impl NodeScorer for Indifferent {
    fn score(&self, _node: &NodeInfo) -> i64 {
        0
    }
}
