//! The allocator: which devices a node can give to claims. A pure function.
//!
//! A search in depth: claim after claim, request after request, device after device, in the order of the pools; where a later
//! choice has no solution, an earlier one is taken back. Devices within one request are tried in one order only, since other
//! orders of them mean the same. The first solution is taken.

use std::collections::{BTreeMap, BTreeSet};

use api_types::{
    k8s_openapi::api::resource::v1::{Device, DeviceToleration},
    quantity::Quantity,
};
use component_helpers::taints;

use super::{
    capacity::{self, Consumed, Counters, full_name},
    constraints::Constraint,
    needs::{ClaimNeeds, Need, Taken},
    pools::{Candidate, DeviceId, Pools},
    selectors::Compiled,
};
use crate::cache::NodeInfo;

/// No claim gets more devices.
const MOST_RESULTS: usize = 32;
/// No search considers more devices: some are hopeless and would never end.
const MOST_STEPS: usize = 2_000_000;

/// A device that is given to a request.
pub(super) struct Chosen<'a> {
    pub(super) candidate: Candidate<'a>,
    /// The request's place in the claim, and the alternative's in the request.
    pub(super) request: (usize, usize),
    /// What a shared device gives, by the names it uses.
    pub(super) share: Option<BTreeMap<String, Quantity>>,
}

/// Why a node gives nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// There is no solution on this node.
    None,
    /// The node cannot be used, for this reason.
    Node(String),
    /// The claims or classes are broken.
    Error(String),
}

/// What the search needs to know besides the node.
pub(super) struct Input<'i, 'a> {
    pub(super) claims: &'i [&'i ClaimNeeds<'a>],
    pub(super) pools: &'i Pools<'a>,
    pub(super) taken: &'i Taken<'a>,
    pub(super) compiled: &'i Compiled,
}

/// The devices for each claim, in the claims' order.
///
/// # Errors
/// Why there are none.
pub(super) fn allocate<'a>(input: &Input<'_, 'a>, node: &NodeInfo) -> Result<Vec<Vec<Chosen<'a>>>, Failure> {
    let mut search = Search::new(input, node)?;
    match search.request(0, 0) {
        Ok(true) => Ok(search.chosen),
        Ok(false) | Err(Stop::TooMany) => Err(search.nothing()),
        Err(Stop::Failed(failure)) => Err(failure),
    }
}

/// Why a search is broken off.
enum Stop {
    /// A claim would get more devices than it may.
    TooMany,
    Failed(Failure),
}

/// A request's alternative: claim, request, alternative.
type At = (usize, usize, usize);

struct Search<'s, 'i, 'a> {
    input: &'s Input<'i, 'a>,
    node: &'s NodeInfo,
    pools: Vec<usize>,
    /// The devices of usable pools.
    candidates: Vec<Candidate<'a>>,
    /// For alternatives that want all devices, which these are.
    all: BTreeMap<At, Vec<Candidate<'a>>>,
    constraints: Vec<Vec<Constraint<'a>>>,
    matches: BTreeMap<(At, DeviceId<'a>), bool>,
    /// Counters that are left of the pools, without what was chosen.
    counters: BTreeMap<usize, Counters<'a>>,
    /// The claims that chose each whole device.
    whole: BTreeMap<DeviceId<'a>, BTreeSet<usize>>,
    chosen: Vec<Vec<Chosen<'a>>>,
    steps: usize,
}

impl<'s, 'i, 'a> Search<'s, 'i, 'a> {
    fn new(input: &'s Input<'i, 'a>, node: &'s NodeInfo) -> Result<Self, Failure> {
        let pools = input.pools.of(node);
        let usable = pools.iter().filter(|at| !input.pools.all[**at].incomplete && !input.pools.all[**at].is_invalid());
        let candidates = usable.flat_map(|at| input.pools.devices(*at, node)).collect();
        let mut search = Search {
            input,
            node,
            pools,
            candidates,
            all: BTreeMap::new(),
            constraints: Vec::new(),
            matches: BTreeMap::new(),
            counters: BTreeMap::new(),
            whole: BTreeMap::new(),
            chosen: input.claims.iter().map(|_| Vec::new()).collect(),
            steps: 0,
        };
        for (index, claim) in input.claims.iter().enumerate() {
            search.prepare(index, claim)?;
        }
        Ok(search)
    }

    fn prepare(&mut self, index: usize, claim: &ClaimNeeds<'a>) -> Result<(), Failure> {
        let least = claim.at_least();
        if least > MOST_RESULTS {
            let claim = &claim.key;
            return Err(Failure::Error(format!(
                "claim {claim}: number of requested devices {least} exceeds the claim limit of {MOST_RESULTS}"
            )));
        }
        for (request, options) in claim.requests.iter().enumerate() {
            for (option, need) in options.iter().enumerate().filter(|(_, need)| need.all) {
                let at = (index, request, option);
                let devices = self.all_devices(at, need)?;
                self.all.insert(at, devices);
            }
        }
        let made = claim.constraints.iter().enumerate().map(|(number, constraint)| {
            let unknown = || {
                let claim = &claim.key;
                format!("claim {claim}, constraint #{number}: empty constraint (unsupported constraint type?)")
            };
            Constraint::new(constraint).ok_or_else(|| Failure::Error(unknown()))
        });
        self.constraints.push(made.collect::<Result<_, _>>()?);
        Ok(())
    }

    /// What "all" means on the node: only pools that are whole can tell.
    fn all_devices(&mut self, at: At, need: &Need<'a>) -> Result<Vec<Candidate<'a>>, Failure> {
        let claim = &self.input.claims[at.0].key;
        for pool in self.pools.iter().map(|pool| &self.input.pools.all[*pool]) {
            let (driver, name) = (pool.driver, pool.name);
            let trouble = match (pool.incomplete, pool.is_invalid()) {
                (true, _) => "being updated",
                (false, true) => "invalid",
                (false, false) => continue,
            };
            return Err(Failure::Node(format!(
                "claim {claim}, request {}: asks for all devices, but resource pool {driver}/{name} is currently {trouble}",
                need.name
            )));
        }
        let mut devices = Vec::new();
        for candidate in self.candidates.clone() {
            let fits = self.selectable(at, need, &candidate).map_err(|stop| match stop {
                Stop::Failed(failure) => failure,
                Stop::TooMany => Failure::None,
            })?;
            if fits && capacity::consumption(candidate.device, &candidate.slice.driver, need.capacity, &[]).is_some() {
                devices.push(candidate);
            }
        }
        Ok(devices)
    }

    /// Why a search without a result has none.
    fn nothing(&self) -> Failure {
        if self.pools.iter().any(|at| self.input.pools.all[*at].is_invalid()) {
            return Failure::Node("invalid resource pools were encountered".to_owned());
        }
        Failure::None
    }

    /// Gives devices to the request and everything after it.
    fn request(&mut self, claim: usize, request: usize) -> Result<bool, Stop> {
        let Some(needs) = self.input.claims.get(claim) else { return Ok(true) };
        let Some(options) = needs.requests.get(request) else {
            return match self.request(claim + 1, 0) {
                // Other devices for this claim may leave the next one to choose a smaller alternative.
                Err(Stop::TooMany) => Ok(false),
                result => result,
            };
        };
        if options.len() == 1 {
            return self.device((claim, request, 0), 0, 0);
        }
        let mut too_many = true;
        for option in 0..options.len() {
            match self.device((claim, request, option), 0, 0) {
                Err(Stop::TooMany) => {}
                Ok(false) => too_many = false,
                result => return result,
            }
        }
        if too_many { Err(Stop::TooMany) } else { Ok(false) }
    }

    /// Gives the alternative its `number`-th device, from the `start`-th candidate on, and everything after it.
    fn device(&mut self, at: At, number: usize, start: usize) -> Result<bool, Stop> {
        let need = &self.input.claims[at.0].requests[at.1][at.2];
        let all = self.all.get(&at);
        let wanted = all.map_or(need.count, Vec::len);
        if all.is_some_and(Vec::is_empty) {
            return Ok(false);
        }
        if number >= wanted {
            return self.request(at.0, at.1 + 1);
        }
        if self.chosen[at.0].len() + wanted - number > MOST_RESULTS {
            return Err(Stop::TooMany);
        }
        if let Some(candidate) = all.map(|all| all[number]) {
            if !self.take(at, need, candidate)? {
                return Ok(false);
            }
            return self.keep_if(at, |search| search.device(at, number + 1, 0));
        }
        for index in start..self.candidates.len() {
            let candidate = self.candidates[index];
            self.steps += 1;
            if self.steps > MOST_STEPS {
                let late = "timed out trying to allocate devices".to_owned();
                return Err(Stop::Failed(Failure::Node(late)));
            }
            if self.free(at, need, &candidate)
                && self.selectable(at, need, &candidate)?
                && self.take(at, need, candidate)?
                && self.keep_if(at, |search| search.device(at, number + 1, index + 1))?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Goes on; puts the last device back where that leads to nothing.
    fn keep_if(&mut self, at: At, next: impl FnOnce(&mut Self) -> Result<bool, Stop>) -> Result<bool, Stop> {
        let result = next(self);
        if !matches!(result, Ok(true)) {
            self.put_back(at);
        }
        result
    }

    /// Whether nobody has the device who would be in the way.
    fn free(&self, at: At, need: &Need<'_>, candidate: &Candidate<'a>) -> bool {
        let id = candidate.id();
        let chosen = self.whole.get(&id);
        if need.admin {
            return !chosen.is_some_and(|claims| claims.contains(&at.0));
        }
        !self.input.taken.devices.contains(&id) && chosen.is_none_or(BTreeSet::is_empty)
    }

    fn selectable(&mut self, at: At, need: &Need<'a>, candidate: &Candidate<'a>) -> Result<bool, Stop> {
        let id = candidate.id();
        if let Some(known) = self.matches.get(&(at, id)) {
            return Ok(*known);
        }
        let compiled = self.input.compiled;
        let class = format!("class {}", need.class.metadata.name.as_deref().unwrap_or_default());
        let claim = format!("claim {}", self.input.claims[at.0].key);
        let of_class = need.class.spec.selectors.as_deref().unwrap_or_default();
        let judged = compiled.all_match(&class, of_class, id, candidate.device).and_then(|fits| {
            Ok(fits
                && compiled.all_match(&claim, need.selectors, id, candidate.device)?
                && candidate.reaches(self.node))
        });
        let fits = judged.map_err(|error| Stop::Failed(Failure::Error(error)))?;
        self.matches.insert((at, id), fits);
        Ok(fits)
    }

    /// Takes the device if it is still to be had, untainted, and no constraint forbids it.
    fn take(&mut self, at: At, need: &Need<'a>, candidate: Candidate<'a>) -> Result<bool, Stop> {
        let device = candidate.device;
        if !self.free(at, need, &candidate) || is_tainted(device, need.tolerations) {
            return Ok(false);
        }
        let Some(share) = self.share(need, &candidate) else { return Ok(false) };
        let shared = device.allow_multiple_allocations == Some(true);
        let already_counted = shared && self.is_shared_already(candidate.id());
        if !already_counted && !self.counters_suffice(&candidate) {
            return Ok(false);
        }
        let constraints = &mut self.constraints[at.0];
        let added = constraints.iter_mut().map(|c| c.add(&need.name, &candidate)).take_while(|added| *added).count();
        if added < constraints.len() {
            constraints[..added].iter_mut().for_each(|c| c.remove(&need.name, &candidate));
            if !need.all {
                return Ok(false);
            }
            let (driver, pool, device) = candidate.id();
            return Err(Stop::Failed(Failure::Error(format!(
                "claim {}, request {}: cannot add device {driver}/{pool}/{device} because a claim constraint would not be satisfied",
                self.input.claims[at.0].key, need.name
            ))));
        }
        if !shared {
            self.whole.entry(candidate.id()).or_default().insert(at.0);
        }
        let share = shared.then_some(share);
        self.chosen[at.0].push(Chosen { candidate, request: (at.1, at.2), share });
        Ok(true)
    }

    fn put_back(&mut self, at: At) {
        let Some(chosen) = self.chosen[at.0].pop() else { return };
        let need = &self.input.claims[at.0].requests[chosen.request.0][chosen.request.1];
        self.constraints[at.0].iter_mut().for_each(|c| c.remove(&need.name, &chosen.candidate));
        if chosen.share.is_none()
            && let Some(claims) = self.whole.get_mut(&chosen.candidate.id())
        {
            claims.remove(&at.0);
        }
    }

    fn chosen(&self) -> impl Iterator<Item = &Chosen<'a>> {
        self.chosen.iter().flatten()
    }

    fn is_shared_already(&self, id: DeviceId<'_>) -> bool {
        self.input.taken.shares.contains_key(&id) || self.chosen().any(|c| c.candidate.id() == id)
    }

    /// What the request gets of the device's capacity, where that much is left.
    fn share(&self, need: &Need<'_>, candidate: &Candidate<'a>) -> Option<BTreeMap<String, Quantity>> {
        let id = candidate.id();
        let driver = &candidate.slice.driver;
        let mut used: Vec<&Consumed> = self.input.taken.shares.get(&id).into_iter().collect();
        let shares = self.chosen().filter(|c| c.candidate.id() == id).filter_map(|c| c.share.as_ref());
        let pending: Vec<Consumed> =
            shares.map(|share| share.iter().map(|(name, v)| (full_name(name, driver), *v)).collect()).collect();
        used.extend(&pending);
        capacity::consumption(candidate.device, driver, need.capacity, &used)
    }

    /// Whether the pool's counters suffice for the device beside those chosen.
    fn counters_suffice(&mut self, candidate: &Candidate<'a>) -> bool {
        let needed = capacity::counters(candidate.device);
        if needed.is_empty() {
            return true;
        }
        let (pool, taken) = (&self.input.pools.all[candidate.pool], self.input.taken);
        let left = self.counters.entry(candidate.pool).or_insert_with(|| {
            capacity::counters_left(pool, |device| taken.uses((pool.driver, pool.name, &device.name)))
        });
        let mut seen = BTreeSet::new();
        let of_pool = self.chosen.iter().flatten().filter(|c| c.candidate.pool == candidate.pool);
        let mut pending: Counters<'_> = needed;
        for chosen in of_pool.filter(|c| !taken.uses(c.candidate.id()) && seen.insert(c.candidate.id())) {
            for (counter, more) in capacity::counters(chosen.candidate.device) {
                *pending.entry(counter).or_default() += more;
            }
        }
        pending.iter().all(|(counter, wanted)| left.get(counter).is_some_and(|left| wanted <= left))
    }
}

/// Whether a taint keeps the request from the device.
fn is_tainted(device: &Device, tolerations: &[DeviceToleration]) -> bool {
    let repels = |effect: &str| matches!(effect, taints::NO_SCHEDULE | taints::NO_EXECUTE);
    let mut repelling = device.taints.iter().flatten().filter(|taint| repels(&taint.effect));
    repelling.any(|taint| !tolerations.iter().any(|toleration| taints::tolerates_device(toleration, taint)))
}
