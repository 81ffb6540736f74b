//! Roles and bindings.

use serde_json::Value;

use super::Page;
use crate::output::plain;

fn head(page: &mut Page, object: &Value) {
    page.field(0, "Name", plain(&object["metadata"]["name"]));
    page.labels(0, "Labels", &object["metadata"]["labels"]);
    page.annotations(0, &object["metadata"]["annotations"]);
}

fn words(value: &Value) -> String {
    format!("[{}]", value.as_array().into_iter().flatten().map(plain).collect::<Vec<_>>().join(" "))
}

pub(super) fn role(page: &mut Page, object: &Value) -> bool {
    head(page, object);
    page.line(0, "PolicyRule:");
    page.line(1, "Resources\tNon-Resource URLs\tResource Names\tVerbs");
    page.line(1, "---------\t-----------------\t--------------\t-----");
    let mut rows: Vec<String> = Vec::new();
    for rule in object["rules"].as_array().into_iter().flatten() {
        let (urls, names, verbs) =
            (words(&rule["nonResourceURLs"]), words(&rule["resourceNames"]), words(&rule["verbs"]));
        let groups: Vec<String> = rule["apiGroups"].as_array().into_iter().flatten().map(plain).collect();
        let resources: Vec<String> = rule["resources"].as_array().into_iter().flatten().map(plain).collect();
        if resources.is_empty() {
            rows.push(format!("\t{urls}\t{names}\t{verbs}"));
        }
        for resource in &resources {
            for group in &groups {
                let (name, sub) =
                    resource.split_once('/').map_or((resource.as_str(), String::new()), |(r, s)| (r, format!("/{s}")));
                let full = if group.is_empty() { resource.clone() } else { format!("{name}.{group}{sub}") };
                rows.push(format!("{full}\t{urls}\t{names}\t{verbs}"));
            }
        }
    }
    rows.sort();
    for row in rows {
        page.line(1, &row);
    }
    false
}

pub(super) fn binding(page: &mut Page, object: &Value) -> bool {
    head(page, object);
    page.line(0, "Role:");
    page.field(1, "Kind", plain(&object["roleRef"]["kind"]));
    page.field(1, "Name", plain(&object["roleRef"]["name"]));
    page.line(0, "Subjects:");
    page.line(1, "Kind\tName\tNamespace");
    page.line(1, "----\t----\t---------");
    for subject in object["subjects"].as_array().into_iter().flatten() {
        page.line(
            1,
            &format!("{}\t{}\t{}", plain(&subject["kind"]), plain(&subject["name"]), plain(&subject["namespace"])),
        );
    }
    false
}
