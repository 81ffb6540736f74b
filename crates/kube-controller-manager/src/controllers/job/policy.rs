//! Pod failure policy and success policy. Pure.

use std::collections::BTreeSet;

use api_types::k8s_openapi::api::{
    batch::v1::{Job, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule},
    core::v1::{ContainerStatus, Pod},
};
use kube::ResourceExt;

use super::indexes;

/// What a failed pod means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It counts against the backoff limit.
    Count,
    /// It does not count.
    Ignore,
    /// Its index has failed.
    FailIndex,
    /// The job has failed, and why.
    FailJob(String),
}

/// The first rule that matches decides; without one the failure counts.
pub(super) fn verdict(job: &Job, pod: &Pod) -> Verdict {
    let policy = job.spec.as_ref().and_then(|s| s.pod_failure_policy.as_ref());
    for (index, rule) in policy.iter().flat_map(|p| &p.rules).enumerate() {
        let Some(why) = matches(rule, pod) else { continue };
        return match rule.action.as_str() {
            "Ignore" => Verdict::Ignore,
            "FailIndex" => Verdict::FailIndex,
            "FailJob" => Verdict::FailJob(format!("{why} matching FailJob rule at index {index}")),
            _ => Verdict::Count,
        };
    }
    Verdict::Count
}

fn matches(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let who = || format!("pod {}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
    let status = pod.status.as_ref()?;
    if let Some(codes) = &rule.on_exit_codes {
        let statuses = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
        let (name, code) = statuses.filter_map(failed_exit).find(|(name, code)| requirement(codes, name, *code))?;
        return Some(format!("Container {name} for {} failed with exit code {code}", who()));
    }
    for pattern in rule.on_pod_conditions.iter().flatten() {
        let wanted = pattern.status.as_deref().unwrap_or("True");
        if status.conditions.iter().flatten().any(|c| c.type_ == pattern.type_ && c.status == wanted) {
            return Some(format!("{} has condition {}", who(), pattern.type_).replacen("pod", "Pod", 1));
        }
    }
    None
}

fn failed_exit(status: &ContainerStatus) -> Option<(&str, i32)> {
    let terminated = status.state.as_ref()?.terminated.as_ref()?;
    (terminated.exit_code != 0).then_some((status.name.as_str(), terminated.exit_code))
}

fn requirement(codes: &PodFailurePolicyOnExitCodesRequirement, name: &str, code: i32) -> bool {
    let named = codes.container_name.as_deref().is_none_or(|wanted| wanted == name);
    let listed = codes.values.contains(&code);
    named && if codes.operator == "In" { listed } else { !listed }
}

/// The rule of the success policy that the succeeded indexes meet.
pub(super) fn success(job: &Job, succeeded: &BTreeSet<i32>) -> Option<String> {
    let spec = job.spec.as_ref()?;
    let completions = spec.completions?;
    let rules = &spec.success_policy.as_ref()?.rules;
    let met = rules.iter().position(|rule| {
        let wanted = rule.succeeded_indexes.as_deref().map(|text| indexes::parse(Some(text), completions));
        let got = wanted.as_ref().map_or(succeeded.len(), |wanted| wanted.intersection(succeeded).count());
        match (rule.succeeded_count, &wanted) {
            (Some(count), _) => got >= usize::try_from(count).unwrap_or(usize::MAX),
            (None, Some(wanted)) => got == wanted.len(),
            (None, None) => false,
        }
    })?;
    Some(format!("Matched rules at index {met}"))
}
