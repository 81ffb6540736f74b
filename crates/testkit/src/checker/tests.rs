//! Each rule finds what it is there for, and a good history passes.

use std::collections::BTreeMap;

use super::*;

/// A history under construction: operations follow each other unless a case moves them.
#[derive(Default)]
struct Story {
    observations: Observations,
    now: Moment,
}

impl Story {
    fn op(&mut self, key: &str, call: Call, outcome: Outcome) -> &mut Self {
        let (began, ended) = (self.now, self.now + 1);
        self.now += 2;
        let (client, key) = ("c".to_owned(), key.to_owned());
        self.observations.operations.push(Operation { client, began, ended, key, call, outcome });
        self
    }

    /// The last operation began before everything, and ends now.
    fn slow(&mut self) -> &mut Self {
        self.observations.operations.last_mut().unwrap().began = 0;
        self
    }

    fn create(&mut self, key: &str, value: &str, outcome: Outcome) -> &mut Self {
        self.op(key, put(value, Expected::Absent), outcome)
    }

    fn update(&mut self, key: &str, at: u64, value: &str, outcome: Outcome) -> &mut Self {
        self.op(key, put(value, Expected::At(at)), outcome)
    }

    fn delete(&mut self, key: &str, outcome: Outcome) -> &mut Self {
        self.op(key, Call::Delete { expected: None }, outcome)
    }

    fn list(&mut self, at: At, revision: u64, items: &[(&str, u64, &str)]) -> &mut Self {
        let items: BTreeMap<_, _> = items.iter().map(|(k, r, v)| ((*k).to_owned(), (*r, (*v).to_owned()))).collect();
        self.op("", Call::List(at), Outcome::Listed { revision, items })
    }

    fn watch(&mut self, after: u64, seen: &[Seen]) -> &mut Self {
        self.observations.watches.push(Watch { client: "w".into(), after, seen: seen.to_vec() });
        self
    }

    #[track_caller]
    fn breaks(&self, rules: &[Rule]) {
        let violations = check(&self.observations);
        let mut found: Vec<_> = violations.iter().map(|violation| violation.rule).collect();
        found.dedup();
        let shown: Vec<_> = violations.iter().map(ToString::to_string).collect();
        assert_eq!(found, rules, "{shown:#?}");
    }
}

fn put(value: &str, expected: Expected) -> Call {
    Call::Put { value: value.into(), expected }
}

fn at(revision: u64) -> Outcome {
    Outcome::Written { revision }
}

fn found(revision: u64, value: &str) -> Outcome {
    Outcome::Found { revision, value: value.into() }
}

fn added(key: &str, revision: u64, value: &str) -> Seen {
    Seen::Added { key: key.into(), revision, value: value.into() }
}

fn modified(key: &str, revision: u64, value: &str) -> Seen {
    Seen::Modified { key: key.into(), revision, value: value.into() }
}

fn deleted(key: &str, revision: u64, value: &str) -> Seen {
    Seen::Deleted { key: key.into(), revision, value: value.into() }
}

/// a: 1 at 11, 2 at 12, gone at 14; b: 3 at 13.
fn good() -> Story {
    let mut story = Story::default();
    story.list(At::Newest, 10, &[]);
    story.create("a", "1", at(11)).update("a", 11, "2", at(12)).create("b", "3", at(13)).delete("a", Outcome::Deleted);
    story.watch(10, &[added("a", 11, "1"), modified("a", 12, "2"), added("b", 13, "3"), deleted("a", 14, "2")]);
    story
}

#[test]
fn a_good_history_passes() {
    let mut story = good();
    story
        .op("a", Call::Get, Outcome::Absent)
        .op("b", Call::Get, found(13, "3"))
        .list(At::Newest, 14, &[("b", 13, "3")])
        .list(At::Exact(12), 12, &[("a", 12, "2")])
        .list(At::Any, 11, &[("a", 11, "1")])
        .update("b", 11, "4", Outcome::Conflict)
        .create("b", "5", Outcome::Exists)
        .delete("a", Outcome::Absent)
        .watch(12, &[added("b", 13, "3"), Seen::Bookmark(13), deleted("a", 14, "2"), Seen::Bookmark(14)]);
    story.breaks(&[]);
}

#[test]
fn unanswered_writes_may_have_happened_or_not() {
    let mut story = good();
    story.create("c", "6", Outcome::Unknown).update("b", 13, "7", Outcome::Unknown).delete("b", Outcome::Unknown);
    story.watch(14, &[modified("b", 15, "7")]);
    story.breaks(&[]);
    // Nobody saw the removal, and no watch says that there was none.
    story.list(At::Newest, 20, &[]);
    story.breaks(&[]);
    story.watch(15, &[Seen::Bookmark(20)]);
    story.breaks(&[Rule::ListIsTheState]);
}

/// That a list lacks a key says when the key was gone at the latest, not when it went.
#[test]
fn an_unseen_removal_is_dated_by_nobody() {
    let mut story = good();
    story.create("c", "6", at(15)).delete("b", Outcome::Deleted).op("c", Call::Get, found(15, "6"));
    story.delete("c", Outcome::Deleted).create("d", "7", at(18)).list(At::Newest, 18, &[("d", 18, "7")]);
    story.breaks(&[]);
}

#[test]
fn concurrent_operations_take_any_order() {
    let mut story = good();
    story.op("a", Call::Get, found(11, "1")).slow();
    story.op("b", Call::Get, Outcome::Absent).slow();
    story.create("a", "8", Outcome::Exists).slow();
    story.breaks(&[]);
}

#[test]
fn revisions_rise_in_real_time() {
    good().create("c", "6", at(17)).create("d", "7", at(16)).breaks(&[Rule::RevisionsRise]);
}

#[test]
fn a_revision_is_one_change() {
    good().op("b", Call::Get, found(13, "other")).breaks(&[Rule::OneTruth]);
    // Two writes got the same revision: one of them was lost in a crash.
    good().create("c", "6", at(14)).breaks(&[Rule::OneTruth, Rule::WritesSurvive]);
}

#[test]
fn a_lost_event_is_found() {
    good().watch(10, &[added("a", 11, "1"), added("b", 13, "3")]).breaks(&[Rule::NoEventLost]);
    // A bookmark is a promise too.
    good().watch(12, &[Seen::Bookmark(13)]).breaks(&[Rule::NoEventLost]);
    // An acknowledged write that came with no watch's event.
    good().create("c", "6", at(15)).watch(14, &[Seen::Bookmark(16)]).breaks(&[Rule::NoEventLost]);
}

#[test]
fn a_doubled_event_is_found() {
    let twice = [added("b", 13, "3"), added("b", 13, "3"), deleted("a", 14, "2")];
    good().watch(12, &twice).breaks(&[Rule::NoEventDoubled]);
}

#[test]
fn a_reordered_event_is_found() {
    good().watch(12, &[deleted("a", 14, "2"), added("b", 13, "3")]).breaks(&[Rule::NoEventReordered]);
    let behind = [added("b", 13, "3"), Seen::Bookmark(14), deleted("a", 14, "2")];
    good().watch(12, &behind).breaks(&[Rule::NoEventReordered]);
    good().watch(13, &[added("b", 13, "3")]).breaks(&[Rule::NoEventReordered]);
}

#[test]
fn an_event_that_tells_another_change_is_found() {
    good().watch(11, &[added("a", 12, "2")]).breaks(&[Rule::EventTellsTheChange]);
    good().watch(12, &[modified("b", 13, "3")]).breaks(&[Rule::EventTellsTheChange]);
    good().watch(13, &[deleted("a", 14, "1")]).breaks(&[Rule::EventTellsTheChange]);
}

#[test]
fn a_list_that_is_not_the_state_is_found() {
    good().list(At::Exact(13), 13, &[("a", 11, "1"), ("b", 13, "3")]).breaks(&[Rule::WritesSurvive]);
    good().list(At::Any, 14, &[("a", 12, "2"), ("b", 13, "3")]).breaks(&[Rule::ListIsTheState]);
    good().list(At::Any, 12, &[("a", 12, "2"), ("b", 13, "3")]).breaks(&[Rule::ListIsTheState]);
    good().list(At::Exact(12), 11, &[("a", 11, "1")]).breaks(&[Rule::ReadsAreFresh]);
    good().list(At::NotOlderThan(12), 11, &[("a", 11, "1")]).breaks(&[Rule::ReadsAreFresh]);
}

#[test]
fn a_lost_acknowledged_write_is_found() {
    good().list(At::Newest, 14, &[]).breaks(&[Rule::WritesSurvive]);
    good().op("b", Call::Get, Outcome::Absent).breaks(&[Rule::WritesSurvive]);
    let mut story = good();
    story.update("b", 13, "4", at(15)).op("b", Call::Get, found(13, "3"));
    story.breaks(&[Rule::WritesSurvive]);
    // A removal that was acknowledged and never happened.
    let mut story = good();
    story.delete("b", Outcome::Deleted).watch(14, &[Seen::Bookmark(20)]);
    story.breaks(&[Rule::WritesSurvive]);
}

#[test]
fn a_stale_read_is_found() {
    let mut story = good();
    story.op("c", put("6", Expected::Absent), Outcome::Unknown);
    story.watch(14, &[added("c", 15, "6")]);
    story.list(At::Newest, 15, &[("b", 13, "3"), ("c", 15, "6")]).list(At::Newest, 14, &[("b", 13, "3")]);
    story.breaks(&[Rule::ReadsAreFresh]);
}

#[test]
fn a_swap_that_should_have_failed_is_found() {
    good().update("b", 12, "4", at(15)).breaks(&[Rule::SwapsHold]);
    good().create("b", "4", at(15)).breaks(&[Rule::SwapsHold]);
    // Both of two updates from one revision.
    let mut story = good();
    story.update("b", 13, "4", at(15)).update("b", 13, "5", at(16)).slow();
    story.breaks(&[Rule::SwapsHold]);
}

#[test]
fn a_false_refusal_is_found() {
    good().create("c", "6", Outcome::Exists).breaks(&[Rule::RefusalsHold]);
    good().update("b", 13, "4", Outcome::Conflict).breaks(&[Rule::RefusalsHold]);
    good().delete("b", Outcome::Absent).breaks(&[Rule::RefusalsHold]);
    // Refused, and yet it happened.
    let mut story = good();
    story.update("b", 11, "4", Outcome::Conflict).watch(14, &[modified("b", 15, "4")]);
    story.breaks(&[Rule::RefusalsHold]);
}

#[test]
fn a_doubled_write_is_found() {
    let mut story = good();
    story.op("b", put("4", Expected::Any), Outcome::Unknown);
    story.watch(14, &[modified("b", 15, "4"), modified("b", 16, "4")]);
    story.breaks(&[Rule::NoWriteDoubled]);
}
