//! The two groups of events.

use serde_json::Value;

use super::rename;

/// Core's name first.
const NAMES: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

pub(super) fn to_new(event: &mut Value) {
    if let Some(map) = event.as_object_mut() {
        rename(map, &NAMES);
    }
}

pub(super) fn to_core(event: &mut Value) {
    if let Some(map) = event.as_object_mut() {
        let names: Vec<(&str, &str)> = NAMES.iter().map(|(core, new)| (*new, *core)).collect();
        rename(map, &names);
    }
}
