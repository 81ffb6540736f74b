//! What of a recommendation is done, and when: bounds, stabilization windows, rates. Pure; the rules are upstream's (`horizontal.go`).

use api_types::k8s_openapi::{
    api::autoscaling::v2::{HPAScalingRules, HorizontalPodAutoscalerBehavior},
    jiff::{SignedDuration, Timestamp},
};

/// Without a behavior nothing grows beyond twice its size (or 4) at once.
const SCALE_UP_FACTOR: f64 = 2.0;
const SCALE_UP_MINIMUM: f64 = 4.0;

/// What is remembered of one autoscaler.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// What was recommended, before it was limited.
    recommendations: Vec<(Timestamp, i32)>,
    /// By how much it grew.
    grown: Vec<(Timestamp, i32)>,
    /// By how much it shrank.
    shrunk: Vec<(Timestamp, i32)>,
}

/// The bounds of one decision.
pub(super) struct Bounds<'a> {
    pub(super) current: i32,
    pub(super) min: i32,
    pub(super) max: i32,
    pub(super) behavior: Option<&'a HorizontalPodAutoscalerBehavior>,
    /// The stabilization window of scaling down that no behavior gives.
    pub(super) downscale_window: SignedDuration,
    pub(super) now: Timestamp,
}

/// A reason and its message.
pub(super) type Why = (&'static str, &'static str);

/// What is left of a recommendation.
#[derive(Debug, PartialEq)]
pub(super) struct Limited {
    pub(super) replicas: i32,
    /// Where recent recommendations stand against it.
    pub(super) stabilized: Option<Why>,
    /// The range that it is in.
    pub(super) range: Why,
    pub(super) is_limited: bool,
}

const UP_STABILIZED: Why = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const DOWN_STABILIZED: Why = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const IN_RANGE: Why = ("DesiredWithinRange", "the desired count is within the acceptable range");
const TOO_MANY: Why = ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FEW: Why = ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const UP_LIMIT: Why = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN_LIMIT: Why =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");

impl Memory {
    /// The size that was found first counts as recommended.
    pub(super) fn start(&mut self, current: i32, now: Timestamp) {
        if self.recommendations.is_empty() {
            self.recommendations.push((now, current));
        }
    }

    /// A change that was made, for rates.
    pub(super) fn scaled(
        &mut self,
        from: i32,
        to: i32,
        behavior: Option<&HorizontalPodAutoscalerBehavior>,
        now: Timestamp,
    ) {
        let Some(behavior) = behavior else { return };
        let (events, rules) = match to > from {
            true => (&mut self.grown, &behavior.scale_up),
            false => (&mut self.shrunk, &behavior.scale_down),
        };
        let periods =
            rules.iter().flat_map(|rules| rules.policies.iter().flatten()).map(|policy| policy.period_seconds);
        let cutoff = now - SignedDuration::from_secs(periods.max().unwrap_or_default().into());
        events.retain(|(at, _)| *at >= cutoff);
        events.push((now, (to - from).abs()));
    }

    /// Limits a recommendation, and remembers it.
    pub(super) fn limit(&mut self, bounds: &Bounds<'_>, desired: i32) -> Limited {
        match bounds.behavior {
            None => self.limit_by_default(bounds, desired),
            Some(behavior) => self.limit_by_behavior(bounds, behavior, desired),
        }
    }

    fn remember(&mut self, cutoff: Timestamp, now: Timestamp, desired: i32) {
        self.recommendations.retain(|(at, _)| *at >= cutoff);
        self.recommendations.push((now, desired));
    }

    fn limit_by_default(&mut self, bounds: &Bounds<'_>, desired: i32) -> Limited {
        let cutoff = bounds.now - bounds.downscale_window;
        let recent = self.recommendations.iter().filter(|(at, _)| *at >= cutoff).map(|(_, count)| *count);
        let stabilized = recent.max().unwrap_or(desired).max(desired);
        self.remember(cutoff, bounds.now, desired);
        let up_limit = (SCALE_UP_FACTOR * f64::from(bounds.current)).max(SCALE_UP_MINIMUM) as i32;
        let (most, above) = if bounds.max > up_limit { (up_limit, UP_LIMIT) } else { (bounds.max, TOO_MANY) };
        let (replicas, range) = match stabilized {
            count if count < bounds.min => (bounds.min, TOO_FEW),
            count if count > most => (most, above),
            count => (count, IN_RANGE),
        };
        Limited {
            replicas,
            stabilized: (stabilized != desired).then_some(DOWN_STABILIZED),
            range,
            is_limited: replicas != stabilized,
        }
    }

    fn limit_by_behavior(
        &mut self,
        bounds: &Bounds<'_>,
        behavior: &HorizontalPodAutoscalerBehavior,
        desired: i32,
    ) -> Limited {
        let window =
            |rules: &Option<HPAScalingRules>| rules.as_ref().and_then(|rules| rules.stabilization_window_seconds);
        let up = window(&behavior.scale_up).map_or(SignedDuration::ZERO, |s| SignedDuration::from_secs(s.into()));
        let down =
            window(&behavior.scale_down).map_or(bounds.downscale_window, |s| SignedDuration::from_secs(s.into()));
        let recent = |window: SignedDuration| {
            let cutoff = bounds.now - window;
            self.recommendations.iter().filter(move |(at, _)| *at > cutoff).map(|(_, count)| *count)
        };
        let lowest = recent(up).min().map_or(desired, |count| count.min(desired));
        let highest = recent(down).max().map_or(desired, |count| count.max(desired));
        let stabilized = bounds.current.max(lowest).min(highest);
        self.remember(bounds.now - up.max(down), bounds.now, desired);
        let (replicas, range) = self.within_rates(bounds, behavior, stabilized);
        let reason = if desired >= bounds.current { UP_STABILIZED } else { DOWN_STABILIZED };
        Limited {
            replicas,
            stabilized: (stabilized != desired).then_some(reason),
            range,
            is_limited: replicas != stabilized,
        }
    }

    fn within_rates(
        &self,
        bounds: &Bounds<'_>,
        behavior: &HorizontalPodAutoscalerBehavior,
        desired: i32,
    ) -> (i32, Why) {
        let current = bounds.current;
        if desired > current {
            let limit = self.rate_limit(bounds, behavior.scale_up.as_ref(), Direction::Up).max(current);
            let (most, why) = if bounds.max > limit { (limit, UP_LIMIT) } else { (bounds.max, TOO_MANY) };
            if desired > most {
                return (most, why);
            }
        } else if desired < current {
            let limit = self.rate_limit(bounds, behavior.scale_down.as_ref(), Direction::Down).min(current);
            let (least, why) = if bounds.min < limit { (limit, DOWN_LIMIT) } else { (bounds.min, TOO_FEW) };
            if desired < least {
                return (least, why);
            }
        }
        (desired, IN_RANGE)
    }

    /// How far the policies let the count go.
    fn rate_limit(&self, bounds: &Bounds<'_>, rules: Option<&HPAScalingRules>, direction: Direction) -> i32 {
        let Some(rules) = rules else { return bounds.current };
        let select = rules.select_policy.as_deref().unwrap_or("Max");
        if select == "Disabled" {
            return bounds.current;
        }
        let changed = |events: &[(Timestamp, i32)], seconds: i32| -> i32 {
            let cutoff = bounds.now - SignedDuration::from_secs(seconds.into());
            events.iter().filter(|(at, _)| *at > cutoff).map(|(_, count)| count).sum()
        };
        let limits = rules.policies.iter().flatten().map(|policy| {
            let seconds = policy.period_seconds;
            let start = bounds.current - changed(&self.grown, seconds) + changed(&self.shrunk, seconds);
            match (direction, policy.type_.as_str()) {
                (Direction::Up, "Pods") => start.saturating_add(policy.value),
                (Direction::Down, "Pods") => start.saturating_sub(policy.value),
                // Rounded up, so that something small can grow at all.
                (Direction::Up, _) => (f64::from(start) * (1.0 + f64::from(policy.value) / 100.0)).ceil() as i32,
                (Direction::Down, _) => (f64::from(start) * (1.0 - f64::from(policy.value) / 100.0)) as i32,
            }
        });
        let limit = match (direction, select) {
            (Direction::Up, "Min") | (Direction::Down, "Max") => limits.min(),
            _ => limits.max(),
        };
        limit.unwrap_or(bounds.current)
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Up,
    Down,
}
