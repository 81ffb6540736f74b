//! Validation of job specs, which cron jobs contain, too (upstream: `pkg/apis/batch/validation`).

use std::collections::BTreeSet;

use crate::checks::{immutable, non_negative, same};
use crate::field::{Errors, Field};
use crate::go;
use crate::go_internal;
use crate::names;

const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const NEEDS_INDEXED: &str = "requires indexed completion mode";

pub(super) fn spec(spec: &Field, errors: &mut Errors) {
    for name in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        non_negative(&spec.get(name), errors);
    }
    managed_by(&spec.get("managedBy"), errors);
    indexed(spec, errors);
    per_index(spec, errors);
    let replacement = spec.get("podReplacementPolicy");
    let failure_policy = spec.get("podFailurePolicy");
    if replacement.exists() {
        replacement_policy(&replacement, failure_policy.exists(), errors);
    }
    let template = spec.get("template");
    crate::pod::pod_template(&template, errors);
    restart_policy(&template, failure_policy.exists(), errors);
    if failure_policy.exists() {
        pod_failure_policy(spec, &failure_policy, errors);
    }
    let success = spec.get("successPolicy");
    if success.exists() {
        if spec.str_of("completionMode") != "Indexed" {
            let shown = go_internal::compact(success.value(), "SuccessPolicy");
            errors.push(go::invalid(&success, &shown, NEEDS_INDEXED));
        }
        success_policy(spec, &success, errors);
    }
}

fn managed_by(field: &Field, errors: &mut Errors) {
    if field.exists() {
        errors.invalid_each(field, names::qualified_name(field.str()));
        if field.len() > 63 {
            errors.too_long(field, 63);
        }
    }
}

fn indexed(spec: &Field, errors: &mut Errors) {
    let mode = spec.get("completionMode");
    if !mode.exists() {
        return;
    }
    if !["NonIndexed", "Indexed"].contains(&mode.str()) {
        errors.not_supported(&mode, &["NonIndexed", "Indexed"]);
    }
    if mode.str() == "Indexed" {
        if !spec.has("completions") {
            errors.required(&spec.get("completions"), "when completion mode is Indexed");
        }
        let parallelism = spec.get("parallelism");
        if parallelism.int_or_zero() > 100_000 {
            errors.invalid(&parallelism, "must be less than or equal to 100000 when completion mode is Indexed");
        }
    }
}

fn per_index(spec: &Field, errors: &mut Errors) {
    let (per_index, max) = (spec.get("backoffLimitPerIndex"), spec.get("maxFailedIndexes"));
    let indexed = spec.str_of("completionMode") != "NonIndexed";
    if per_index.exists() && !indexed {
        errors.invalid(&per_index, NEEDS_INDEXED);
    }
    if !max.exists() {
        return;
    }
    if !per_index.exists() {
        errors.required(&per_index, "when maxFailedIndexes is specified");
    }
    if !indexed {
        errors.invalid(&max, NEEDS_INDEXED);
    }
    let completions = spec.get("completions");
    if completions.exists() && max.int_or_zero() > completions.int_or_zero() {
        errors.invalid(&max, "must be less than or equal to completions");
    }
    if max.int_or_zero() > 100_000 {
        errors.invalid(&max, "must be less than or equal to 100000");
    }
}

fn replacement_policy(field: &Field, with_failure_policy: bool, errors: &mut Errors) {
    let words: &[&str] = if with_failure_policy { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    if !words.contains(&field.str()) {
        errors.not_supported(field, words);
    }
}

/// Jobs end; their pods must not be restarted forever.
fn restart_policy(template: &Field, with_failure_policy: bool, errors: &mut Errors) {
    let policy = template.dig("spec.restartPolicy");
    match policy.str() {
        "" | "Always" => errors.required(&policy, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if with_failure_policy => {
            errors.invalid(&policy, "only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" | "Never" => {}
        _ => errors.not_supported(&policy, &["OnFailure", "Never"]),
    }
}

fn pod_failure_policy(spec: &Field, policy: &Field, errors: &mut Errors) {
    let rules = policy.get("rules");
    if rules.len() > 20 {
        errors.too_many(&rules, 20);
    }
    let pod = spec.dig("template.spec");
    let containers: BTreeSet<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|l| pod.get(l).items().map(|c| c.str_of("name")).collect::<Vec<_>>())
        .collect();
    for rule in rules.items() {
        failure_rule(spec, &rule, &containers, errors);
    }
}

fn failure_rule(spec: &Field, rule: &Field, containers: &BTreeSet<&str>, errors: &mut Errors) {
    let action = rule.get("action");
    match action.str() {
        "" => errors.required(&action, &format!("valid values: {}", go::quoted_set(&ACTIONS))),
        "FailIndex" if !spec.has("backoffLimitPerIndex") => {
            errors.invalid(&action, "requires the backoffLimitPerIndex to be set");
        }
        a if ACTIONS.contains(&a) => {}
        _ => errors.not_supported(&action, &ACTIONS),
    }
    let (codes, conditions) = (rule.get("onExitCodes"), rule.get("onPodConditions"));
    if codes.exists() {
        exit_codes(&codes, containers, errors);
    }
    for condition in conditions.items() {
        let (kind, status) = (condition.get("type"), condition.get("status"));
        errors.invalid_each(&kind, names::qualified_name(kind.str()));
        if status.str().is_empty() {
            errors.required(&status, "valid values: [\"False\" \"True\" \"Unknown\"]");
        } else if !["False", "True", "Unknown"].contains(&status.str()) {
            errors.not_supported(&status, &["False", "True", "Unknown"]);
        }
    }
    if codes.exists() && !conditions.is_empty() {
        errors
            .push(go::invalid_without_value(rule, "specifying both OnExitCodes and OnPodConditions is not supported"));
    }
    if !codes.exists() && conditions.is_empty() {
        errors.push(go::invalid_without_value(rule, "specifying one of OnExitCodes and OnPodConditions is required"));
    }
}

fn exit_codes(codes: &Field, containers: &BTreeSet<&str>, errors: &mut Errors) {
    let operator = codes.get("operator");
    let words = ["In", "NotIn"];
    if operator.str().is_empty() {
        errors.required(&operator, &format!("valid values: {}", go::quoted_set(&words)));
    } else if !words.contains(&operator.str()) {
        errors.not_supported(&operator, &words);
    }
    let container = codes.get("containerName");
    if container.exists() && !containers.contains(container.str()) {
        errors.invalid(&container, "must be one of the container or initContainer names in the pod template");
    }
    let values = codes.get("values");
    if values.is_empty() {
        errors.invalid(&values, "at least one value is required");
    } else if values.len() > 255 {
        errors.too_many(&values, 255);
    }
    let mut ordered = true;
    let mut seen = BTreeSet::new();
    let mut last: Option<i64> = None;
    for value in values.items() {
        let number = value.int_or_zero();
        if operator.str() == "In" && number == 0 {
            errors.invalid(&value, "must not be 0 for the In operator");
        }
        if !seen.insert(number) {
            errors.duplicate(&value);
        }
        ordered &= last.is_none_or(|l| l <= number);
        last = Some(number);
    }
    if !ordered {
        errors.invalid(&values, "must be ordered");
    }
}

fn success_policy(spec: &Field, policy: &Field, errors: &mut Errors) {
    let rules = policy.get("rules");
    if rules.is_empty() {
        errors.required(&rules, "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.len() > 20 {
        errors.too_many(&rules, 20);
    }
    let completions = spec.get("completions").int_or_zero();
    for rule in rules.items() {
        success_rule(&rule, completions, errors);
    }
}

fn success_rule(rule: &Field, completions: i64, errors: &mut Errors) {
    let (indexes, count) = (rule.get("succeededIndexes"), rule.get("succeededCount"));
    if !indexes.exists() && !count.exists() {
        errors.required(rule, "at least one of succeededCount or succeededIndexes must be specified");
    }
    let mut total = 0;
    if indexes.exists() {
        match parse_indexes(indexes.str(), completions) {
            Ok(n) => total = n,
            Err(problem) => errors.invalid(&indexes, format!("error parsing succeededIndexes: {problem}")),
        }
    }
    if !count.exists() {
        return;
    }
    non_negative(&count, errors);
    let number = count.int_or_zero();
    if number > completions {
        errors.invalid(
            &count,
            format!("must be less than or equal to {completions} (the number of specified completions)"),
        );
    }
    if indexes.exists() && number > total {
        errors.invalid(
            &count,
            format!(
                "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
            ),
        );
    }
}

/// `0,2-4`: increasing indexes and ranges below `completions`; the number of indexes.
fn parse_indexes(text: &str, completions: i64) -> Result<i64, String> {
    let mut last: Option<i64> = None;
    let mut total = 0;
    if text.is_empty() {
        return Ok(0);
    }
    for part in text.split(',') {
        let limits: Vec<&str> = part.split('-').collect();
        if limits.len() > 2 {
            return Err(format!(
                "the fragment \"{part}\" violates the requirement that an index interval can have at most two parts separated by '-'"
            ));
        }
        let number = |t: &str| -> Result<i64, String> {
            t.parse::<i64>().map_err(|_| format!("cannot convert string to integer for index: \"{t}\""))
        };
        let first = number(limits[0])?;
        if first >= completions {
            return Err(format!("too large index: \"{}\"", limits[0]));
        }
        if last.is_some_and(|l| l >= first) {
            return Err(format!("non-increasing order, previous: {}, current: {first}", last.unwrap_or(0)));
        }
        let end = match limits.get(1) {
            None => first,
            Some(text) => {
                let end = number(text)?;
                if end >= completions {
                    return Err(format!("too large index: \"{text}\""));
                }
                if first >= end {
                    return Err(format!("non-increasing order, previous: {first}, current: {end}"));
                }
                end
            }
        };
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

pub(super) fn change(new: &Field, old: &Field, errors: &mut Errors) {
    let (spec, before) = (new.get("spec"), old.get("spec"));
    completions(&spec, &before, errors);
    immutable(&spec.get("selector"), &before.get("selector"), errors);
    template(new, old, errors);
    for name in ["completionMode", "backoffLimitPerIndex", "managedBy"] {
        immutable(&spec.get(name), &before.get(name), errors);
    }
    go::immutable(&spec.get("podFailurePolicy"), &before.get("podFailurePolicy"), "PodFailurePolicy", errors);
    go::immutable(&spec.get("successPolicy"), &before.get("successPolicy"), "SuccessPolicy", errors);
}

fn completions(spec: &Field, before: &Field, errors: &mut Errors) {
    let (new, old) = (spec.get("completions"), before.get("completions"));
    if same(&new, &old) {
        return;
    }
    let indexed = spec.str_of("completionMode") == "Indexed" && new.exists() && old.exists();
    if !indexed {
        errors.invalid(&new, crate::checks::IMMUTABLE);
    } else if new.int() != spec.get("parallelism").int() {
        errors.invalid(&new, "can only be modified in tandem with spec.parallelism");
    }
}

/// The template is fixed, but for scheduling directives of a suspended job that never started.
fn template(new: &Field, old: &Field, errors: &mut Errors) {
    let (template, before) = (new.dig("spec.template"), old.dig("spec.template"));
    let waiting = old.dig("spec.suspend").bool() && !old.get("status").has("startTime");
    let mut munged = template.value().clone();
    if waiting {
        for name in ["nodeSelector", "tolerations", "schedulingGates"] {
            crate::defaults::within(&mut munged, "spec", |s| {
                crate::defaults::keep(s, before.get("spec").value(), name)
            });
        }
        crate::defaults::within(&mut munged, "spec", |s| {
            let old_affinity = &before.get("spec").value()["affinity"]["nodeAffinity"];
            if crate::defaults::has(s, "affinity") || !old_affinity.is_null() {
                let affinity = crate::defaults::ensure(s, "affinity");
                affinity["nodeAffinity"] = old_affinity.clone();
            }
        });
        crate::defaults::within(&mut munged, "metadata", |m| {
            for name in ["annotations", "labels"] {
                crate::defaults::keep(m, before.get("metadata").value(), name);
            }
        });
    }
    if waiting {
        // Upstream looks at the pod alone while the template may still change.
        let (spec, old_spec) = (Field::root(&munged).get("spec"), before.get("spec"));
        if !same(&spec, &old_spec) {
            let shown = go_internal::compact(&go_internal::pod_spec(spec.value()), "PodSpec");
            errors.push(go::invalid(&template.get("spec"), &shown, crate::checks::IMMUTABLE));
        }
    } else if !same(&template, &before) {
        let mut shown = template.value().clone();
        crate::defaults::within(&mut shown, "spec", |s| *s = go_internal::pod_spec(s));
        errors.push(go::invalid(&template, &go_internal::compact(&shown, "PodTemplateSpec"), crate::checks::IMMUTABLE));
    }
}

#[cfg(test)]
mod tests {
    use super::parse_indexes;

    #[test]
    fn indexes() {
        assert_eq!(parse_indexes("0,2-4", 5), Ok(4));
        assert_eq!(parse_indexes("5", 5), Err("too large index: \"5\"".to_owned()));
        assert!(parse_indexes("x", 5).is_err() && parse_indexes("2,1", 5).is_err());
    }
}
