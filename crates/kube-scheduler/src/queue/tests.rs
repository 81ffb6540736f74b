use serde_json::json;

use super::*;

fn pod(name: &str, priority: i32) -> Arc<PodInfo> {
    let pod = json!({"metadata": {"name": name, "namespace": "d"}, "spec": {"priority": priority, "containers": []}});
    Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())))
}

fn queue() -> Queue {
    Queue::new(Duration::from_secs(1), Duration::from_secs(10))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn names(queue: &mut Queue) -> Vec<String> {
    std::iter::from_fn(|| queue.pop()).map(|w| w.pod.name().to_owned()).collect()
}

#[test]
fn priority_then_age() {
    let (mut queue, now) = (queue(), Instant::now());
    queue.add(pod("young", 0), None, at(2), now);
    queue.add(pod("old", 0), None, at(1), now);
    queue.add(pod("important", 5), None, at(3), now);
    queue.add(pod("gone", 9), None, at(3), now);
    queue.remove("d/gone");
    assert_eq!(names(&mut queue), ["important", "old", "young"]);
    assert_eq!(queue.counts(), Counts::default());
}

#[test]
fn a_refused_pod_waits_for_a_change_and_its_backoff() {
    let (mut queue, now) = (queue(), Instant::now());
    queue.add(pod("a", 0), None, at(1), now);
    let waiting = queue.pop().unwrap();
    queue.refused(waiting, ["NodeAffinity"].into(), now);
    assert!(queue.pop().is_none(), "nothing changed");
    queue.moved(now, |w| w.refused_by.contains("NodePorts"));
    assert!(queue.pop().is_none(), "the change does not concern it");
    queue.moved(now, |w| w.refused_by.contains("NodeAffinity"));
    assert_eq!(queue.counts().backoff, 1);
    queue.add(pod("b", 0), None, at(9), now);
    assert_eq!(names(&mut queue), ["b", "a"], "backoff lets others through, and is cut short when there is nobody");
}

#[test]
fn an_error_backs_off_in_full_and_longer_each_time() {
    let (mut queue, mut now) = (queue(), Instant::now());
    queue.add(pod("a", 0), None, at(1), now);
    for wait in [1, 2, 4, 8, 10, 10] {
        let waiting = queue.pop().unwrap();
        queue.failed(waiting, now);
        assert!(queue.pop().is_none());
        assert_eq!(queue.next_flush(), Some(now + Duration::from_secs(wait)));
        now += Duration::from_secs(wait);
        queue.flush(now);
    }
    assert_eq!(queue.counts().active, 1);
}

#[test]
fn nobody_is_forgotten() {
    let (mut queue, now) = (queue(), Instant::now());
    queue.add(pod("a", 0), None, at(1), now);
    let waiting = queue.pop().unwrap();
    queue.refused(waiting, BTreeSet::new(), now);
    assert_eq!(queue.next_flush(), Some(now + MAX_PENDING));
    queue.flush(now + MAX_PENDING - Duration::from_secs(1));
    assert!(queue.pop().is_none());
    queue.flush(now + MAX_PENDING);
    assert_eq!(names(&mut queue), ["a"]);
}

#[test]
fn gates_hold_back_and_updates_keep_the_place() {
    let (mut queue, now) = (queue(), Instant::now());
    queue.add(pod("a", 0), Some("SchedulingGates"), at(1), now);
    assert!(queue.is_gated("d/a") && queue.pop().is_none());
    queue.moved(now, |_| true);
    assert!(queue.pop().is_none(), "no event of the cluster opens a gate");
    assert!(queue.update(pod("a", 7)));
    assert!(queue.is_gated("d/a"));
    queue.ungate("d/a", now);
    assert_eq!(queue.pop().map(|w| w.pod.priority), Some(7));
    assert!(!queue.update(pod("a", 7)));
}
