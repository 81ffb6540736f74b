//! Reading and writing conditions of pods and nodes.

use api_types::k8s_openapi::{
    api::core::v1::{NodeCondition, PodCondition},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};

/// A condition of some kind, as far as setting one needs to know.
pub trait Condition {
    /// Its type, as in `Ready`.
    fn type_(&self) -> &str;
    /// `True`, `False` or `Unknown`.
    fn status(&self) -> &str;
    /// When the status last changed.
    fn transition(&mut self) -> &mut Option<Time>;
    /// Whether all but the times is equal.
    fn same(&self, other: &Self) -> bool;
}

macro_rules! condition {
    ($kind:ty, $($field:ident),*) => {
        impl Condition for $kind {
            fn type_(&self) -> &str {
                &self.type_
            }
            fn status(&self) -> &str {
                &self.status
            }
            fn transition(&mut self) -> &mut Option<Time> {
                &mut self.last_transition_time
            }
            fn same(&self, other: &Self) -> bool {
                self.status == other.status && self.reason == other.reason && self.message == other.message
                    $(&& self.$field == other.$field)*
            }
        }
    };
}
condition!(PodCondition, last_probe_time, observed_generation);
condition!(NodeCondition, last_heartbeat_time);

/// The condition of that type.
#[must_use]
pub fn find<'a, C: Condition>(conditions: Option<&'a Vec<C>>, type_: &str) -> Option<&'a C> {
    conditions?.iter().find(|c| c.type_() == type_)
}

/// Whether the condition of that type is `True`.
#[must_use]
pub fn is_true<C: Condition>(conditions: Option<&Vec<C>>, type_: &str) -> bool {
    find(conditions, type_).is_some_and(|c| c.status() == "True")
}

/// Adds or replaces the condition and says whether anything changed. The transition time is `now` where the status changed,
/// else it stays what it was.
pub fn set<C: Condition>(conditions: &mut Option<Vec<C>>, mut condition: C, now: Timestamp) -> bool {
    let all = conditions.get_or_insert_default();
    let Some(old) = all.iter_mut().find(|c| c.type_() == condition.type_()) else {
        condition.transition().get_or_insert(Time(now));
        all.push(condition);
        return true;
    };
    if old.status() == condition.status() {
        *condition.transition() = old.transition().clone();
    } else {
        *condition.transition() = Some(Time(now));
    }
    let changed = !old.same(&condition);
    *old = condition;
    changed
}

/// A pod condition without times.
#[must_use]
pub fn pod(type_: &str, status: bool, reason: &str, message: &str) -> PodCondition {
    let some = |s: &str| (!s.is_empty()).then(|| s.to_owned());
    PodCondition {
        type_: type_.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        reason: some(reason),
        message: some(message),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transition_time_moves_with_the_status_only() {
        let (early, late) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(100).expect("in range"));
        let mut conditions = None;
        assert!(set(&mut conditions, pod("Ready", false, "Starting", ""), early));
        assert!(!set(&mut conditions, pod("Ready", false, "Starting", ""), late));
        assert!(set(&mut conditions, pod("Ready", false, "Waiting", ""), late));
        let time = |c: &Option<Vec<PodCondition>>| {
            find(c.as_ref(), "Ready").and_then(|c| c.last_transition_time.clone()).map(|t| t.0)
        };
        assert_eq!(time(&conditions), Some(early));
        assert!(!is_true(conditions.as_ref(), "Ready"));
        assert!(set(&mut conditions, pod("Ready", true, "", ""), late));
        assert_eq!(time(&conditions), Some(late));
        assert!(is_true(conditions.as_ref(), "Ready"));
        assert_eq!(conditions.map(|c| c.len()), Some(1));
    }
}
