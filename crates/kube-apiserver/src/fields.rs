//! The fields that each kind can be selected by, and what upstream says about others.

use api_semantics::Strategy;
use apiserver::model::{Format, SelectableField};

/// For kinds that are only bodies: nothing is defaulted, nothing validated.
pub(crate) struct NoStrategy;

impl Strategy for NoStrategy {}

pub(crate) static NO_STRATEGY: NoStrategy = NoStrategy;

/// What a kind can be selected by.
pub(crate) struct Selectable {
    pub fields: Vec<SelectableField>,
    pub unknown: fn(&Format, &str) -> String,
}

/// plural → "label=path" or "label=path=default".
const TABLE: [(&str, &[&str]); 14] = [
    (
        "pods",
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork==false",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
    ),
    ("nodes", &["spec.unschedulable==false"]),
    (
        "events",
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source=source.component",
            "type",
        ],
    ),
    ("namespaces", &["status.phase"]),
    ("secrets", &["type"]),
    ("services", &["spec.clusterIP", "spec.type"]),
    ("replicationcontrollers", &["status.replicas==0"]),
    ("replicasets", &["status.replicas==0"]),
    ("jobs", &["status.successful=status.succeeded=0"]),
    ("certificatesigningrequests", &["spec.signerName"]),
    ("clustertrustbundles", &["spec.signerName"]),
    ("podcertificaterequests", &["spec.signerName", "spec.podName", "spec.nodeName"]),
    ("resourceslices", &["spec.nodeName", "spec.driver"]),
    ("storageversionmigrations", &[]),
];

/// The selectable fields of a resource.
pub(crate) fn of(plural: &str) -> Selectable {
    let rows = TABLE.iter().find(|(p, _)| *p == plural).map_or(&[][..], |(_, rows)| rows);
    let unknown: fn(&Format, &str) -> String = match plural {
        "pods" | "nodes" | "events" | "namespaces" | "secrets" | "services" | "replicationcontrollers" => in_core,
        "jobs" => of_job,
        "resourceslices" => of_version,
        _ => general,
    };
    Selectable { fields: rows.iter().map(|row| field(row)).collect(), unknown }
}

fn field(row: &'static str) -> SelectableField {
    let mut words = row.split('=');
    let label = words.next().unwrap_or(row);
    let path = words.next().filter(|p| !p.is_empty()).unwrap_or(label);
    SelectableField { label: label.into(), path: path.to_owned(), default: words.next().unwrap_or("") }
}

fn in_core(_: &Format, label: &str) -> String {
    format!("field label not supported: {label}")
}

fn of_job(format: &Format, label: &str) -> String {
    format!("field label {label:?} not supported for {}", format.kind)
}

fn of_version(format: &Format, label: &str) -> String {
    format!("field label not supported for {}, Kind={}: {label}", format.api_version(), format.kind)
}

fn general(_: &Format, label: &str) -> String {
    format!("{label:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_name_label_path_and_default() {
        let jobs = of("jobs");
        assert_eq!(
            (&*jobs.fields[0].label, jobs.fields[0].path.as_str(), jobs.fields[0].default),
            ("status.successful", "status.succeeded", "0")
        );
        let nodes = of("nodes");
        assert_eq!((nodes.fields[0].path.as_str(), nodes.fields[0].default), ("spec.unschedulable", "false"));
    }
}
