//! Label and field selectors, and durations and times, which come in queries and bodies as text.
#![no_main]

use api_types::{FieldSelector, LabelSelector};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    if let Ok(selector) = input.parse::<LabelSelector>() {
        // A set of nothing but the empty value is written as an empty one, which is no selector; upstream's is as well.
        if let Ok(again) = selector.to_string().parse::<LabelSelector>() {
            assert_eq!(again.to_string(), selector.to_string());
        }
        selector.matches_by(|label| (label.len() % 2 == 0).then_some("value"));
    }
    if let Ok(selector) = input.parse::<FieldSelector>() {
        selector.matches_by(|field| (field.len() % 2 == 0).then_some("value"));
    }
    if let Ok(nanos) = api_types::duration::parse(input) {
        assert_eq!(api_types::duration::parse(&api_types::duration::format(nanos)), Ok(nanos));
    }
    if let Ok(time) = api_types::time::parse(input) {
        let _ = api_types::time::format(&time);
    }
});
