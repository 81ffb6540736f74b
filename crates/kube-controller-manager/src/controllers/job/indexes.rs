//! Sets of completion indexes, in the status' form: `1,3-5,7`.

use std::collections::BTreeSet;

use api_types::k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// The completion index of a pod.
pub(super) fn of(pod: &Pod) -> Option<i32> {
    pod.annotations().get(INDEX)?.parse().ok()
}

/// Parses the status' form; indexes from `completions` on are left out, as is what cannot be read.
pub(super) fn parse(text: Option<&str>, completions: i32) -> BTreeSet<i32> {
    let mut all = BTreeSet::new();
    for part in text.unwrap_or_default().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>()) {
            all.extend(first.max(0)..=last.min(completions - 1));
        }
    }
    all
}

/// The status' form. Runs of three and more are joined by `-`, as are two neighbours.
pub(super) fn format(all: &BTreeSet<i32>) -> String {
    let mut parts = Vec::new();
    let mut iter = all.iter().copied().peekable();
    while let Some(first) = iter.next() {
        let mut last = first;
        while iter.next_if_eq(&(last + 1)).is_some() {
            last += 1;
        }
        parts.push(match last - first {
            0 => first.to_string(),
            1 => format!("{first},{last}"),
            _ => format!("{first}-{last}"),
        });
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_stays_in_bounds() {
        for (text, completions, want) in
            [("", 5, ""), ("0", 5, "0"), ("0-2,4", 5, "0-2,4"), ("1,2", 5, "1,2"), ("0-9", 5, "0-4"), ("x,3", 5, "3")]
        {
            assert_eq!(format(&parse(Some(text), completions)), want, "{text}");
        }
        assert_eq!(format(&BTreeSet::from([0, 1, 2, 4, 5, 7])), "0-2,4,5,7");
    }
}
