//! Feeds priority and fairness with the `FlowSchema` and `PriorityLevelConfiguration` objects of the cluster.

use std::{collections::BTreeMap, sync::Arc};

use api_types::k8s_openapi::api::flowcontrol::v1::{
    FlowSchema as Schema, NonResourcePolicyRule, PolicyRulesWithSubjects, PriorityLevelConfiguration as Level,
    ResourcePolicyRule, Subject as ApiSubject,
};
use apiserver::fairness::{
    self, Config, Distinguisher, Fairness, FlowSchema, PathRule, PolicyRule, ResourceRule, Subject,
};
use kube::{Client, Resource, ResourceExt};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::auth::follow::{Change, Key, follow};

#[derive(Default)]
struct Objects {
    schemas: BTreeMap<Key, FlowSchema>,
    levels: BTreeMap<Key, fairness::Level>,
}

impl Objects {
    fn config(&self) -> Config {
        let levels = self.levels.iter().map(|((_, name), level)| (name.clone(), level.clone()));
        Config { schemas: self.schemas.values().cloned().collect(), levels: levels.collect() }
    }
}

/// Keeps `gate` configured as the objects say.
pub(crate) fn start(gate: &Arc<Fairness>, loopback: &Client, shutdown: &CancellationToken, tasks: &TaskTracker) {
    let objects = Arc::default();
    let schemas = sink(gate, &objects, |objects| &mut objects.schemas, read_schema);
    let levels = sink(gate, &objects, |objects| &mut objects.levels, read_level);
    tasks.spawn(follow(loopback.clone(), schemas, watch::Sender::new(false), shutdown.clone()));
    tasks.spawn(follow(loopback.clone(), levels, watch::Sender::new(false), shutdown.clone()));
}

/// Takes the changes of one kind into its part of `objects`, and configures the gate anew.
fn sink<K: Resource<DynamicType = ()>, V: 'static>(
    gate: &Arc<Fairness>,
    objects: &Arc<Mutex<Objects>>,
    part: fn(&mut Objects) -> &mut BTreeMap<Key, V>,
    read: fn(&K) -> V,
) -> impl FnMut(Change<K>) + use<K, V> {
    let (gate, objects) = (Arc::clone(gate), Arc::clone(objects));
    move |change| {
        let mut objects = objects.lock();
        change.apply(part(&mut objects), |object| read(&object));
        gate.configure(objects.config());
    }
}

fn read_schema(schema: &Schema) -> FlowSchema {
    let spec = schema.spec.clone().unwrap_or_default();
    FlowSchema {
        name: schema.name_any(),
        uid: schema.uid().unwrap_or_default(),
        level: spec.priority_level_configuration.name,
        precedence: spec.matching_precedence.unwrap_or(1_000),
        distinguisher: spec.distinguisher_method.and_then(|method| match method.type_.as_str() {
            "ByUser" => Some(Distinguisher::ByUser),
            "ByNamespace" => Some(Distinguisher::ByNamespace),
            _ => None,
        }),
        rules: spec.rules.into_iter().flatten().map(read_rule).collect(),
    }
}

fn read_rule(rule: PolicyRulesWithSubjects) -> PolicyRule {
    PolicyRule {
        subjects: rule.subjects.into_iter().filter_map(read_subject).collect(),
        resources: rule.resource_rules.into_iter().flatten().map(read_resource_rule).collect(),
        paths: rule.non_resource_rules.into_iter().flatten().map(read_path_rule).collect(),
    }
}

fn read_subject(subject: ApiSubject) -> Option<Subject> {
    let account = subject.service_account.map(|s| Subject::ServiceAccount { namespace: s.namespace, name: s.name });
    let user = subject.user.map(|user| Subject::User(user.name));
    subject.group.map(|group| Subject::Group(group.name)).or(user).or(account)
}

fn read_resource_rule(rule: ResourcePolicyRule) -> ResourceRule {
    ResourceRule {
        verbs: rule.verbs,
        groups: rule.api_groups,
        resources: rule.resources,
        cluster_scope: rule.cluster_scope.unwrap_or_default(),
        namespaces: rule.namespaces.unwrap_or_default(),
    }
}

fn read_path_rule(rule: NonResourcePolicyRule) -> PathRule {
    PathRule { verbs: rule.verbs, paths: rule.non_resource_urls }
}

fn read_level(level: &Level) -> fairness::Level {
    let spec = level.spec.clone().unwrap_or_default();
    let number = |n: Option<i32>| n.and_then(|n| u32::try_from(n).ok());
    let uid = level.uid().unwrap_or_default();
    let Some(limited) = spec.limited else {
        let exempt = spec.exempt.unwrap_or_default();
        return fairness::Level {
            uid,
            exempt: true,
            shares: number(exempt.nominal_concurrency_shares).unwrap_or(0),
            lendable: number(exempt.lendable_percent).unwrap_or(0),
            borrowing: None,
            response: fairness::Response::Reject,
        };
    };
    let queuing = limited.limit_response.and_then(|response| response.queuing);
    let count = |n: Option<i32>, default: usize| n.and_then(|n| usize::try_from(n).ok()).unwrap_or(default);
    fairness::Level {
        uid,
        exempt: false,
        shares: number(limited.nominal_concurrency_shares).unwrap_or(30),
        lendable: number(limited.lendable_percent).unwrap_or(0),
        borrowing: number(limited.borrowing_limit_percent),
        response: queuing.map_or(fairness::Response::Reject, |q| fairness::Response::Queue {
            queues: count(q.queues, 64),
            hand: count(q.hand_size, 8),
            length: count(q.queue_length_limit, 50),
        }),
    }
}
