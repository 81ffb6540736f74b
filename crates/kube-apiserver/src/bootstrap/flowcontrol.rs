//! The default `FlowSchema` and `PriorityLevelConfiguration` objects, from `flowcontrol.txt`.

use serde_json::{Value, json};

const TABLE: &str = include_str!("flowcontrol.txt");

/// (plural, object), in the order of the table.
pub(super) fn objects() -> Vec<(&'static str, Value)> {
    let lines = TABLE.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines.map(|line| object(&line.split(' ').collect::<Vec<_>>())).collect()
}

// The table is part of the program: a line that can't be read is a bug, found by the test below.
fn object(words: &[&str]) -> (&'static str, Value) {
    match words {
        ["level", name, rest @ ..] => ("prioritylevelconfigurations", annotated(name, level(rest))),
        ["schema", name, level, precedence, distinguisher, subjects, rules @ ..] => {
            let mut spec = json!({
                "priorityLevelConfiguration": { "name": level },
                "matchingPrecedence": number(precedence),
                "rules": [flow_rule(subjects, rules)],
            });
            if *distinguisher != "-" {
                spec["distinguisherMethod"] = json!({ "type": distinguisher });
            }
            ("flowschemas", annotated(name, spec))
        }
        other => panic!("flowcontrol.txt: {other:?}"),
    }
}

fn annotated(name: &str, spec: Value) -> Value {
    json!({
        "metadata": { "name": name, "annotations": { "apf.kubernetes.io/autoupdate-spec": "true" } },
        "spec": spec,
    })
}

fn level(words: &[&str]) -> Value {
    match words {
        ["exempt"] => json!({ "type": "Exempt", "exempt": { "nominalConcurrencyShares": 0, "lendablePercent": 0 } }),
        [shares, lendable, rest @ ..] => {
            let response = match rest {
                [queues, hand, length] => json!({ "type": "Queue", "queuing": {
                    "queues": number(queues), "handSize": number(hand), "queueLengthLimit": number(length),
                } }),
                _ => json!({ "type": "Reject" }),
            };
            json!({ "type": "Limited", "limited": {
                "nominalConcurrencyShares": number(shares), "lendablePercent": number(lendable), "limitResponse": response,
            } })
        }
        other => panic!("flowcontrol.txt: {other:?}"),
    }
}

fn flow_rule(subjects: &str, rules: &[&str]) -> Value {
    let (mut resource_rules, mut path_rules) = (Vec::new(), Vec::new());
    for rule in rules {
        match rule.split(':').collect::<Vec<_>>().as_slice() {
            ["resource", verbs, groups, resources, namespaces, scope @ ..] => {
                let mut rule = json!({
                    "verbs": list(verbs), "apiGroups": list(groups), "resources": list(resources), "namespaces": list(namespaces),
                });
                if !scope.is_empty() {
                    rule["clusterScope"] = true.into();
                }
                resource_rules.push(rule);
            }
            ["path", verbs, paths] => path_rules.push(json!({ "verbs": list(verbs), "nonResourceURLs": list(paths) })),
            other => panic!("flowcontrol.txt: {other:?}"),
        }
    }
    let subjects: Vec<Value> = subjects.split(',').map(subject).collect();
    json!({ "subjects": subjects, "resourceRules": resource_rules, "nonResourceRules": path_rules })
}

fn subject(text: &str) -> Value {
    match text.split_once(':') {
        Some(("group", name)) => json!({ "kind": "Group", "group": { "name": name } }),
        Some(("user", name)) => json!({ "kind": "User", "user": { "name": name } }),
        Some(("sa", account)) => {
            let (namespace, name) = account.split_once('/').unwrap_or((account, "*"));
            json!({ "kind": "ServiceAccount", "serviceAccount": { "namespace": namespace, "name": name } })
        }
        _ => panic!("flowcontrol.txt: {text}"),
    }
}

fn list(text: &str) -> Vec<&str> {
    text.split(',').collect()
}

fn number(text: &str) -> i64 {
    text.parse().unwrap_or_else(|_| panic!("flowcontrol.txt: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_names_a_level_that_is_there() {
        let objects = objects();
        let name = |o: &Value| o["metadata"]["name"].as_str().map(str::to_owned);
        let levels: Vec<_> = objects.iter().filter(|(p, _)| *p != "flowschemas").filter_map(|(_, o)| name(o)).collect();
        for (_, schema) in objects.iter().filter(|(p, _)| *p == "flowschemas") {
            let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str().map(str::to_owned);
            assert!(level.is_some_and(|l| levels.contains(&l)), "{schema}");
        }
        assert_eq!((levels.len(), objects.len()), (8, 21));
    }
}
