//! What of a recommendation is done, and when.

use api_types::k8s_openapi::{
    api::autoscaling::v2::HorizontalPodAutoscalerBehavior,
    jiff::{SignedDuration, Timestamp},
};
use serde_json::{Value, json};

use super::{
    super::limits::{Bounds, Limited, Memory},
    now,
};

/// An autoscaler whose target follows at once.
struct World {
    memory: Memory,
    behavior: Option<HorizontalPodAutoscalerBehavior>,
    current: i32,
    now: Timestamp,
}

impl World {
    fn new(current: i32, behavior: Value) -> Self {
        let (mut memory, now) = (Memory::default(), now());
        memory.start(current, now);
        Self { memory, behavior: serde_json::from_value(behavior).unwrap(), current, now }
    }

    /// After so many seconds the metrics recommend `desired`, between 1 and 100.
    fn recommend(&mut self, seconds: i64, desired: i32) -> Limited {
        self.now += SignedDuration::from_secs(seconds);
        let behavior = self.behavior.as_ref();
        let bounds = Bounds {
            current: self.current,
            min: 1,
            max: 100,
            behavior,
            downscale_window: SignedDuration::from_secs(300),
            now: self.now,
        };
        let limited = self.memory.limit(&bounds, desired);
        if limited.replicas != self.current {
            self.memory.scaled(self.current, limited.replicas, behavior, self.now);
            self.current = limited.replicas;
        }
        limited
    }

    fn sizes(&mut self, seconds: i64, desired: &[i32]) -> Vec<i32> {
        desired.iter().map(|desired| self.recommend(seconds, *desired).replicas).collect()
    }
}

fn rules(up: Value, down: Value) -> Value {
    json!({"scaleUp": up, "scaleDown": down})
}

fn policies(select: &str, policies: &[(&str, i32, i32)]) -> Value {
    let policy =
        |(type_, value, seconds): &(&str, i32, i32)| json!({"type": type_, "value": value, "periodSeconds": seconds});
    let policies: Vec<_> = policies.iter().map(policy).collect();
    json!({"stabilizationWindowSeconds": 0, "selectPolicy": select, "policies": policies})
}

/// Anything at once.
fn free() -> Value {
    policies("Max", &[("Percent", 10_000, 15)])
}

#[test]
fn without_behavior_it_doubles_at_most_and_shrinks_after_five_minutes() {
    let mut world = World::new(1, Value::Null);
    let first = world.recommend(15, 50);
    assert_eq!((first.replicas, first.range.0, first.is_limited), (4, "ScaleUpLimit", true));
    assert_eq!(world.sizes(15, &[50, 50, 50, 50]), [8, 16, 32, 50]);
    let down = world.recommend(15, 10);
    assert_eq!(
        (down.replicas, down.stabilized.unwrap().0, down.range.0),
        (50, "ScaleDownStabilized", "DesiredWithinRange")
    );
    // The last recommendation of 50 is five minutes old, and still counts; a second later it does not.
    assert_eq!(world.recommend(285, 20).replicas, 50);
    assert_eq!(world.recommend(1, 10).replicas, 20);
    let over = world.recommend(301, 200);
    assert_eq!((over.replicas, over.range.0), (40, "ScaleUpLimit"));
    assert_eq!(world.sizes(15, &[200, 200]), [80, 100]);
    assert_eq!(world.recommend(15, 200).range.0, "TooManyReplicas");
    assert_eq!(world.recommend(600, 0).range.0, "TooFewReplicas");
}

#[test]
fn policies_limit_the_rate() {
    // The default of scaling up: 4 pods or all again, in 15 seconds.
    let default = policies("Max", &[("Pods", 4, 15), ("Percent", 100, 15)]);
    assert_eq!(World::new(1, rules(default, free())).sizes(15, &[100; 6]), [5, 10, 20, 40, 80, 100]);
    // Upstream's documentation: 100 pods, 10 % or 4 pods a minute, whichever is less.
    let slow = policies("Min", &[("Percent", 10, 60), ("Pods", 4, 60)]);
    assert_eq!(World::new(100, rules(free(), slow)).sizes(60, &[1; 4]), [96, 92, 88, 84]);
    let fast = policies("Max", &[("Percent", 10, 60), ("Pods", 4, 60)]);
    assert_eq!(World::new(80, rules(free(), fast)).sizes(60, &[1; 4]), [72, 64, 57, 51]);
    // What was done in the period counts: two pods a minute, looked at every 20 seconds.
    let two = policies("Max", &[("Pods", 2, 60)]);
    assert_eq!(World::new(10, rules(free(), two.clone())).sizes(20, &[1; 6]), [8, 8, 8, 6, 6, 6]);
    let mut up = World::new(10, rules(two, free()));
    assert_eq!(up.sizes(20, &[100; 4]), [12, 12, 12, 14]);
    assert_eq!(up.recommend(20, 100).range.0, "ScaleUpLimit");
    // What was taken away in the period may come back.
    assert_eq!(up.recommend(20, 9).replicas, 9);
    assert_eq!(up.recommend(10, 100).replicas, 14);
    let off = json!({"selectPolicy": "Disabled", "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]});
    let mut off = World::new(10, rules(free(), off));
    off.recommend(600, 1);
    assert_eq!(
        off.recommend(600, 1),
        Limited {
            replicas: 10,
            stabilized: None,
            is_limited: true,
            range: ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate"),
        }
    );
}

#[test]
fn windows_pick_the_most_careful_recommendation() {
    let window = |seconds: i32| {
        let mut rules = free();
        rules["stabilizationWindowSeconds"] = json!(seconds);
        rules
    };
    // Up: the lowest of the last minute.
    let mut up = World::new(5, rules(window(60), window(0)));
    assert_eq!(up.sizes(20, &[20, 30, 10, 40, 40, 40]), [5, 5, 10, 10, 10, 40]);
    let mut up = World::new(5, rules(window(60), window(0)));
    assert_eq!(up.recommend(20, 20).stabilized.unwrap().0, "ScaleUpStabilized");
    // Down: the highest.
    let mut down = World::new(40, rules(window(0), window(60)));
    assert_eq!(down.sizes(20, &[10, 30, 5, 5, 5]), [40, 40, 30, 30, 5]);
    // Without a window of its own the flag's counts.
    let mut none = free();
    none.as_object_mut().unwrap().remove("stabilizationWindowSeconds");
    let mut down = World::new(40, rules(window(0), none));
    assert_eq!(down.sizes(100, &[10, 10, 10]), [40, 40, 10]);
}
