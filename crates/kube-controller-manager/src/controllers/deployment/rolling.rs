//! The arithmetic of rolling updates and of proportional scaling.

use super::plan::{MAX, Rollout, age, available, replicas};
use kube::ResourceExt;

/// One step of a rolling update: the new ReplicaSet up as far as the surge allows, else the old ones down as far as availability
/// allows.
pub(super) fn roll(rollout: &mut Rollout<'_>) {
    let created = rollout.new.is_none();
    let new = rollout.ensure_new();
    if created {
        return;
    }
    let current = replicas(&rollout.sets[new]);
    let target = new_replicas(rollout, current);
    rollout.scale_to(new, target);
    if target == current {
        scale_down_old(rollout, new);
    }
}

/// How many replicas the new ReplicaSet may have, given how many it has.
pub(super) fn new_replicas(rollout: &Rollout<'_>, current: i32) -> i32 {
    let desired = rollout.desired();
    if current >= desired {
        return desired;
    }
    let room = desired + rollout.max_surge() - rollout.total();
    current + room.clamp(0, desired - current)
}

fn scale_down_old(rollout: &mut Rollout<'_>, new: usize) {
    let old = rollout.old();
    if old.iter().all(|i| replicas(&rollout.sets[*i]) == 0) {
        return;
    }
    let min_available = rollout.desired() - rollout.max_unavailable();
    let new_unavailable = replicas(&rollout.sets[new]) - available(&rollout.sets[new]);
    let mut budget = rollout.total() - min_available - new_unavailable;
    // Pods that serve nobody go first: they cost no availability.
    for index in &old {
        let (has, serves) = (replicas(&rollout.sets[*index]), available(&rollout.sets[*index]));
        let remove = (has - serves).min(budget);
        if remove > 0 {
            budget -= remove;
            rollout.scale_to(*index, has - remove);
        }
    }
    let serving: i32 = rollout.sets.iter().map(available).sum();
    let mut budget = serving - min_available;
    for index in &old {
        let has = replicas(&rollout.sets[*index]);
        let remove = has.min(budget);
        if remove > 0 {
            budget -= remove;
            rollout.scale_to(*index, has - remove);
        }
    }
}

/// Scales to another wanted number without rolling: one active ReplicaSet takes all; several, in the middle of a roll-out, share
/// the difference in proportion to their sizes.
pub(super) fn scale(rollout: &mut Rollout<'_>) {
    let desired = rollout.desired();
    let active: Vec<_> = (0..rollout.sets.len()).filter(|i| replicas(&rollout.sets[*i]) > 0).collect();
    if let Some(only) = only_target(rollout, &active) {
        return rollout.scale_to(only, desired);
    }
    if let Some(new) = rollout.new
        && is_saturated(rollout, new)
    {
        for index in active.into_iter().filter(|i| *i != new) {
            rollout.scale_to(index, 0);
        }
        return;
    }
    if super::plan::strategy(rollout.spec) == "RollingUpdate" {
        scale_in_proportion(rollout, active);
    }
}

/// The only active ReplicaSet, or, when none is active, the new or the newest one.
fn only_target(rollout: &Rollout<'_>, active: &[usize]) -> Option<usize> {
    match active {
        [] => rollout.new.or_else(|| rollout.old().into_iter().max_by_key(|i| age(&rollout.sets[*i]))),
        [only] => Some(*only),
        _ => None,
    }
}

fn is_saturated(rollout: &Rollout<'_>, new: usize) -> bool {
    let (set, desired) = (&rollout.sets[new], rollout.desired());
    let annotated = set.annotations().get(super::plan::DESIRED).and_then(|d| d.parse::<i32>().ok());
    replicas(set) == desired && annotated == Some(desired) && available(set) == desired
}

fn scale_in_proportion(rollout: &mut Rollout<'_>, mut active: Vec<usize>) {
    let allowed = if rollout.desired() > 0 { rollout.desired() + rollout.max_surge() } else { 0 };
    let difference = allowed - rollout.total();
    let sets = &rollout.sets;
    // Bigger ones first; of equal ones the newer when growing, the older when shrinking.
    active.sort_by(|a, b| {
        let by_age = age(&sets[*a]).cmp(&age(&sets[*b]));
        let by_age = if difference > 0 { by_age.reverse() } else { by_age };
        replicas(&sets[*b]).cmp(&replicas(&sets[*a])).then(by_age)
    });
    let mut added = 0;
    let mut targets = Vec::new();
    for index in &active {
        let share = proportion(rollout, *index, difference, added);
        added += share;
        targets.push(replicas(&rollout.sets[*index]) + share);
    }
    if let Some(first) = targets.first_mut() {
        *first = (*first + difference - added).max(0);
    }
    for (index, target) in active.into_iter().zip(targets) {
        rollout.scale_to(index, target);
    }
}

/// The part of a difference that a ReplicaSet takes.
fn proportion(rollout: &Rollout<'_>, index: usize, difference: i32, added: i32) -> i32 {
    let set = &rollout.sets[index];
    let rest = difference - added;
    if rest == 0 {
        return 0;
    }
    let share = fraction(rollout, index);
    debug_assert!(replicas(set) > 0);
    if difference > 0 { share.min(rest) } else { share.max(rest) }
}

fn fraction(rollout: &Rollout<'_>, index: usize) -> i32 {
    let set = &rollout.sets[index];
    let has = replicas(set);
    if rollout.desired() == 0 {
        return -has;
    }
    let max_now = f64::from(rollout.desired() + rollout.max_surge());
    let annotated = set.annotations().get(MAX).and_then(|m| m.parse::<f64>().ok());
    let max_before = annotated.filter(|m| *m > 0.0).or_else(|| {
        let replicas = rollout.deployment.status.as_ref().and_then(|s| s.replicas).unwrap_or_default();
        (replicas > 0).then(|| f64::from(replicas))
    });
    let Some(max_before) = max_before else { return 0 };
    (f64::from(has) * max_now / max_before).round() as i32 - has
}
