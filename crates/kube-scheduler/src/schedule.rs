//! The decision: which node, or why none. A pure function of the snapshot, the pod, and the choice among equals.

mod parallel;

use std::{collections::VecDeque, sync::Arc};

use api_types::k8s_openapi::api::resource::v1::ResourceClaim;

use crate::{
    cache::{
        NodeInfo, PodInfo, Snapshot,
        evaluations::{self, Refused},
    },
    framework::{
        Code, Context, CycleState, Diagnosis, Failed, FilterSet, NodeScorer, Planned, Point, PostFilter, PreFilter,
        PreScore, Profile, Refusal, Signature,
    },
};

/// With fewer nodes than this every feasible one is scored.
const MIN_FEASIBLE: usize = 100;
/// At least this many percent of the nodes are tried, however many there are.
const MIN_PERCENTAGE: usize = 5;

/// Picks a number below the given one: the choice among equals.
pub type Tie<'a> = &'a mut dyn FnMut(usize) -> usize;

/// A node for the pod.
pub struct Decision<'a> {
    /// The node.
    pub node: &'a NodeInfo,
    /// How many nodes were looked at.
    pub evaluated: usize,
    /// The nodes that could run the pod.
    pub feasible: Vec<&'a NodeInfo>,
    /// Each plugin's weighted scores of the feasible nodes, in their order; empty where there was only one.
    pub scores: Vec<(&'static str, Vec<i64>)>,
    /// What must be written before the binding.
    pub writes: Vec<Planned>,
}

/// Why there is no node.
#[derive(Debug)]
pub enum Unschedulable {
    /// The cluster has none.
    NoNodes,
    /// An extender or a plugin failed.
    Failed(String),
    /// None will do.
    Unfit {
        /// Why not.
        diagnosis: Box<Diagnosis>,
        /// The room to be made, where that helps.
        preemption: Option<crate::framework::Preemption>,
        /// Whether the pod's nominated node is void.
        clear_nomination: bool,
        /// The claim whose devices are to be chosen anew.
        deallocate: Option<Arc<ResourceClaim>>,
    },
}

impl Unschedulable {
    /// A plugin's refusal of the node that was chosen; no other is looked for.
    #[must_use]
    pub fn after_decision(plugin: &'static str, slot: usize, refusal: Refusal) -> Self {
        let mut diagnosis = Diagnosis { nodes: 1, ..Diagnosis::default() };
        diagnosis.refusals.push((slot, refusal));
        diagnosis.plugins.insert(plugin);
        Unschedulable::Unfit {
            diagnosis: Box::new(diagnosis),
            preemption: None,
            clear_nomination: true,
            deallocate: None,
        }
    }

    /// What the event and the condition say.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Unschedulable::NoNodes => "no nodes available to schedule pods".to_owned(),
            Unschedulable::Failed(error) => error.clone(),
            Unschedulable::Unfit { diagnosis, .. } => diagnosis.message(),
        }
    }
}

/// Finds the node for a pod. `start` is where the last search among many nodes ended, and is moved on.
///
/// # Errors
/// Why no node will do.
pub fn schedule<'a>(
    profile: &Profile,
    snapshot: &'a Snapshot,
    pod: &PodInfo,
    start: &mut usize,
    tie: Tie<'_>,
) -> Result<Decision<'a>, Unschedulable> {
    if snapshot.is_empty() {
        return Err(Unschedulable::NoNodes);
    }
    let cx = Context { snapshot, pod };
    let mut state = CycleState::default();
    let search = search_with_extenders(profile, cx, &mut state, start).map_err(Unschedulable::Failed)?;
    if search.feasible.is_empty() {
        return Err(explain(profile, cx, search));
    }
    let slots: Vec<usize> = search.feasible.iter().map(|node| node.slot).collect();
    let evaluated = search.evaluated;
    let scores = score(profile, cx, &search.feasible);
    let feasible: Vec<&'a NodeInfo> = slots.into_iter().filter_map(|slot| snapshot.at(slot)).collect();
    let node = feasible[choose(feasible.len(), &scores, tie)];
    let writes = reserve(profile, cx, &state, node)?;
    Ok(Decision { node, evaluated, feasible, scores, writes })
}

/// What must be written for the pod to run on the node.
fn reserve(
    profile: &Profile,
    cx: Context<'_>,
    state: &CycleState,
    node: &NodeInfo,
) -> Result<Vec<Planned>, Unschedulable> {
    let mut writes = Vec::new();
    for enabled in profile.at(Point::Reserve) {
        let planned = enabled.plugin.reserve(cx, state, node);
        let planned = planned.map_err(|refusal| match refusal.code {
            Code::Error => {
                let doing = format!("running Reserve plugin {:?}", enabled.name);
                Unschedulable::Failed(format!("{doing}: {}", refusal.message()))
            }
            _ => Unschedulable::after_decision(enabled.name, node.slot, refusal),
        })?;
        let patience = enabled.plugin.patience();
        writes.extend(planned.into_iter().map(|write| Planned { plugin: enabled.name, write, patience }));
    }
    Ok(writes)
}

/// The index of a node with the highest total.
fn choose(nodes: usize, scores: &[(&'static str, Vec<i64>)], tie: Tie<'_>) -> usize {
    let totals: Vec<i64> = (0..nodes).map(|i| scores.iter().map(|(_, s)| s[i]).sum()).collect();
    let most = totals.iter().max().copied().unwrap_or(0);
    let best: Vec<usize> = (0..nodes).filter(|i| totals[*i] == most).collect();
    best[if best.len() > 1 { tie(best.len()) } else { 0 }]
}

struct Search<'a> {
    feasible: Vec<&'a NodeInfo>,
    evaluated: usize,
    /// Only the nominated node was looked at.
    nominated: bool,
    /// A plugin could not judge: there is no result.
    failed: Option<String>,
    filters: FilterSet<'a>,
    diagnosis: Diagnosis,
    /// The plugin that refused the last node.
    last_refusing: &'static str,
}

/// The search, narrowed by the extenders. One that refuses the nominated node makes the others come into question.
fn search_with_extenders<'a>(
    profile: &'a Profile,
    cx: Context<'a>,
    state: &mut CycleState,
    start: &mut usize,
) -> Result<Search<'a>, String> {
    let mut found = search(profile, cx, state, start, true);
    if let Some(error) = found.failed {
        return Err(error);
    }
    profile.extenders.filter(cx, &mut found.feasible, &mut found.diagnosis)?;
    if found.nominated && found.feasible.is_empty() {
        found = search(profile, cx, state, start, false);
        profile.extenders.filter(cx, &mut found.feasible, &mut found.diagnosis)?;
    }
    Ok(found)
}

fn search<'a>(
    profile: &'a Profile,
    cx: Context<'a>,
    state: &mut CycleState,
    start: &mut usize,
    nominated_first: bool,
) -> Search<'a> {
    let mut search = Search {
        feasible: Vec::new(),
        evaluated: 0,
        nominated: false,
        failed: None,
        filters: FilterSet::new(),
        diagnosis: Diagnosis { nodes: cx.snapshot.len(), ..Diagnosis::default() },
        last_refusing: "",
    };
    let mut narrowed: Option<std::collections::BTreeSet<String>> = None;
    let mut narrowing = Vec::new();
    for enabled in profile.at(Point::Filter) {
        match enabled.plugin.pre_filter(cx, state) {
            PreFilter::Skip => {}
            PreFilter::Filter(filter) => search.filters.push(enabled.name, filter),
            PreFilter::Narrow(nodes, filter) => {
                narrowing.push(enabled.name);
                narrowed = Some(narrowed.map_or_else(|| nodes.clone(), |known| &known & &nodes));
                search.filters.push(enabled.name, filter);
            }
            PreFilter::Refuse(refusal) if refusal.code == Code::Error => {
                let doing = format!("running PreFilter plugin {:?}", enabled.name);
                search.failed = Some(format!("{doing}: {}", refusal.message()));
                return search;
            }
            PreFilter::Refuse(refusal) => {
                search.diagnosis.before = Some(refusal);
                search.diagnosis.plugins.insert(enabled.name);
                return search;
            }
        }
    }
    match narrowed {
        Some(names) => {
            narrowing.sort_unstable();
            let reason = format!("node(s) didn't satisfy plugin(s) [{}]", narrowing.join(" "));
            search.diagnosis.others = Some(Refusal::unresolvable(reason));
            search.diagnosis.plugins.extend(narrowing);
            let nodes: Vec<_> = names.iter().filter_map(|name| cx.snapshot.node(name)).collect();
            for node in nodes {
                let verdict = search.filters.check_with_nominated(cx, node);
                search.note(node, verdict);
            }
        }
        None => search.look_around(profile, cx, start, nominated_first),
    }
    search
}

/// How many feasible nodes are enough.
fn wanted(profile: &Profile, nodes: usize) -> usize {
    if nodes < MIN_FEASIBLE || profile.percentage_of_nodes_to_score >= 100 {
        return nodes;
    }
    let percentage = match usize::try_from(profile.percentage_of_nodes_to_score) {
        Ok(percentage) if percentage > 0 => percentage,
        _ => 50usize.saturating_sub(nodes / 125).max(MIN_PERCENTAGE),
    };
    (nodes * percentage / 100).max(MIN_FEASIBLE)
}

impl<'a> Search<'a> {
    /// Tries nodes round the order, from where the last search ended. A nominated node is tried first, and alone will do.
    fn look_around(&mut self, profile: &Profile, cx: Context<'a>, start: &mut usize, nominated_first: bool) {
        let nominated = cx.pod.pod.status.as_ref().and_then(|s| s.nominated_node_name.as_deref());
        if let Some(node) = nominated.filter(|_| nominated_first).and_then(|name| cx.snapshot.node(name))
            && self.filters.check_with_nominated(cx, node).is_ok()
        {
            self.evaluated = 1;
            self.nominated = true;
            self.feasible.push(node);
            return;
        }
        let nodes = cx.snapshot.len();
        let wanted = wanted(profile, nodes);
        let mut signature = Signature::new(profile.number);
        let signed = self.filters.sign(&mut signature);
        let mut evaluations = cx.snapshot.evaluations.lock();
        let mut kept = evaluations.verdicts(&signature);
        // Verdicts on the next nodes, in a search that is long and has nothing to go by.
        let mut ahead = VecDeque::new();
        for step in 0..nodes {
            if self.feasible.len() >= wanted || self.failed.is_some() {
                break;
            }
            let Some(node) = cx.snapshot.nth((*start + step) % nodes) else { continue };
            let filters = &self.filters;
            if kept.is_none() && ahead.is_empty() && parallel::ahead(step, nodes) > 0 {
                let block = (step..step + parallel::ahead(step, nodes)).map(|step| (*start + step) % nodes);
                let block: Vec<_> = block.filter_map(|at| cx.snapshot.nth(at)).collect();
                ahead = parallel::judge(filters, cx, &block, parallel::threads()).into();
            }
            let verdict = match &mut kept {
                Some(kept) if !cx.snapshot.is_nominated(node) => kept
                    .get(node.slot, cx.snapshot.generation(node.slot), || filters.check_part(0..signed, node))
                    .and_then(|()| filters.check_part(signed..filters.len(), node)),
                _ => ahead.pop_front().unwrap_or_else(|| filters.check_with_nominated(cx, node)),
            };
            self.note(node, verdict);
        }
        *start = (*start + self.evaluated) % nodes;
    }

    fn note(&mut self, node: &'a NodeInfo, verdict: Result<(), Refused>) {
        self.evaluated += 1;
        match verdict {
            Ok(()) => self.feasible.push(node),
            Err((plugin, refusal)) if refusal.code == Code::Error => {
                self.failed = Some(format!("running {plugin:?} filter plugin: {}", refusal.message()));
            }
            Err((plugin, refusal)) => {
                if std::mem::replace(&mut self.last_refusing, plugin) != plugin {
                    self.diagnosis.plugins.insert(plugin);
                }
                self.diagnosis.refusals.push((node.slot, refusal));
            }
        }
    }
}

/// Asks the plugins what helps, and puts the reasons together.
fn explain<'a>(profile: &Profile, cx: Context<'a>, search: Search<'a>) -> Unschedulable {
    let Search { filters, mut diagnosis, .. } = search;
    let mut messages = Vec::new();
    let (mut preemption, mut clear_nomination, mut deallocate) = (None, false, None);
    for enabled in profile.at(Point::PostFilter) {
        let PostFilter { preemption: found, clear_nomination: clear, message, deallocate: claim } = enabled
            .plugin
            .post_filter(&Failed { cx, filters: &filters, diagnosis: &diagnosis, extenders: &profile.extenders });
        clear_nomination |= clear;
        deallocate = deallocate.or(claim);
        if !message.is_empty() {
            messages.push(message);
        }
        if found.is_some() {
            preemption = found;
            messages.clear();
            break;
        }
    }
    diagnosis.after = messages.join(", ");
    Unschedulable::Unfit { diagnosis: Box::new(diagnosis), preemption, clear_nomination, deallocate }
}

fn score(profile: &Profile, cx: Context<'_>, feasible: &[&NodeInfo]) -> Vec<(&'static str, Vec<i64>)> {
    let mut all = Vec::new();
    if feasible.len() == 1 {
        return all;
    }
    for enabled in profile.at(Point::Score) {
        let PreScore::Score(scorer) = enabled.plugin.pre_score(cx, feasible) else { continue };
        let mut scores = raw_scores(profile, enabled.name, cx, scorer.as_ref(), feasible);
        scorer.normalize(&mut scores, feasible);
        scores.iter_mut().for_each(|score| *score *= enabled.weight);
        all.push((enabled.name, scores));
    }
    all.extend(profile.extenders.scores(cx, feasible));
    all
}

/// The raw scores of the nodes; those that hold for every pod of the kind are taken from what is kept.
fn raw_scores(
    profile: &Profile,
    plugin: &'static str,
    cx: Context<'_>,
    scorer: &dyn NodeScorer,
    feasible: &[&NodeInfo],
) -> Vec<i64> {
    let mut signature = Signature::new(profile.number);
    signature.add(plugin);
    let mut evaluations = cx.snapshot.evaluations.lock();
    let kept = if scorer.sign(&mut signature) { evaluations.scores(&signature) } else { None };
    match kept {
        None => feasible.iter().map(|node| scorer.score(node)).collect(),
        Some(kept) => {
            let raw = |node: &&NodeInfo| {
                evaluations::score(kept, node.slot, cx.snapshot.generation(node.slot), || scorer.score(node))
            };
            feasible.iter().map(raw).collect()
        }
    }
}
