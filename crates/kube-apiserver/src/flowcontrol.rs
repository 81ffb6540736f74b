//! Feeds priority and fairness with the `FlowSchema` and `PriorityLevelConfiguration` objects of the cluster.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use api_types::k8s_openapi::api::flowcontrol::v1::{
    FlowSchema as Schema, NonResourcePolicyRule, PolicyRulesWithSubjects, PriorityLevelConfiguration as Level,
    ResourcePolicyRule, Subject as ApiSubject,
};
use apiserver::fairness::{
    self, Config, Distinguisher, Fairness, FlowSchema, PathRule, PolicyRule, ResourceRule, Subject,
};
use component_base::clock;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::auth::follow::{Change, Key, follow};

/// Who writes the condition (upstream's name of a server of this version).
const MANAGER: &str = "api-priority-and-fairness-config-consumer-v1";
/// Between attempts to write conditions.
const RETRY: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Objects {
    schemas: BTreeMap<Key, Known>,
    levels: BTreeMap<Key, fairness::Level>,
}

/// A schema, and what its `Dangling` condition says: whether the level that it names is missing.
struct Known {
    schema: FlowSchema,
    dangling: Option<bool>,
}

impl Objects {
    fn config(&self) -> Config {
        let levels = self.levels.iter().map(|((_, name), level)| (name.clone(), level.clone()));
        Config { schemas: self.schemas.values().map(|known| known.schema.clone()).collect(), levels: levels.collect() }
    }

    /// The schemas whose condition is not true: name, level, and whether that is missing.
    fn misjudged(&self) -> Vec<(String, String, bool)> {
        let judge = |known: &Known| {
            let missing = !self.levels.contains_key(&(String::new(), known.schema.level.clone()));
            (known.dangling != Some(missing)).then(|| (known.schema.name.clone(), known.schema.level.clone(), missing))
        };
        self.schemas.values().filter_map(judge).collect()
    }
}

/// Keeps `gate` configured as the objects say, and its seats where they are wanted.
pub(crate) fn start(gate: &Arc<Fairness>, loopback: &Client, shutdown: &CancellationToken, tasks: &TaskTracker) {
    let objects = Arc::default();
    let changed = Arc::new(Notify::new());
    let schemas = sink(gate, &objects, &changed, |objects| &mut objects.schemas, read_schema);
    let levels = sink(gate, &objects, &changed, |objects| &mut objects.levels, read_level);
    tasks.spawn(follow(loopback.clone(), schemas, watch::Sender::new(false), shutdown.clone()));
    let synced = watch::Sender::new(false);
    let all_levels = synced.subscribe();
    tasks.spawn(follow(loopback.clone(), levels, synced, shutdown.clone()));
    let judge = judge(loopback.clone(), objects, changed, all_levels);
    let (gate, stop) = (Arc::clone(gate), shutdown.clone());
    tasks.spawn(async move { stop.run_until_cancelled(gate.keep_adjusting()).await.unwrap_or_default() });
    let shutdown = shutdown.clone();
    tasks.spawn(async move { shutdown.run_until_cancelled(judge).await.unwrap_or_default() });
}

/// Keeps the conditions of the schemas true.
async fn judge(client: Client, objects: Arc<Mutex<Objects>>, changed: Arc<Notify>, mut levels: watch::Receiver<bool>) {
    if levels.wait_for(|synced| *synced).await.is_err() {
        return;
    }
    let schemas: Api<Schema> = Api::all(client);
    loop {
        let mut failed = false;
        let misjudged = objects.lock().misjudged();
        for (name, level, missing) in misjudged {
            let status = condition(&name, &level, missing);
            let params = PatchParams::apply(MANAGER).force();
            match schemas.patch_status(&name, &params, &Patch::Apply(status)).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => {
                    tracing::warn!(schema = name, %error, "writing a condition failed");
                    failed = true;
                }
            }
        }
        tokio::select! {
            () = changed.notified() => {}
            () = tokio::time::sleep(RETRY), if failed => {}
        }
    }
}

fn condition(schema: &str, level: &str, missing: bool) -> Value {
    let (status, reason, rest) = match missing {
        true => ("True", "NotFound", "but there is no such object"),
        false => ("False", "Found", "and it exists"),
    };
    json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": schema},
        "status": {"conditions": [{
            "type": "Dangling", "status": status, "reason": reason, "lastTransitionTime": api_types::time::format(&clock::now()),
            "message": format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} {rest}"),
        }]},
    })
}

/// Takes the changes of one kind into its part of `objects`, and configures the gate anew.
fn sink<K: Resource<DynamicType = ()>, V: 'static>(
    gate: &Arc<Fairness>,
    objects: &Arc<Mutex<Objects>>,
    changed: &Arc<Notify>,
    part: fn(&mut Objects) -> &mut BTreeMap<Key, V>,
    read: fn(&K) -> V,
) -> impl FnMut(Change<K>) + use<K, V> {
    let (gate, objects, changed) = (Arc::clone(gate), Arc::clone(objects), Arc::clone(changed));
    move |change| {
        let mut objects = objects.lock();
        change.apply(part(&mut objects), |object| read(&object));
        gate.configure(objects.config());
        changed.notify_one();
    }
}

fn read_schema(schema: &Schema) -> Known {
    let conditions = schema.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let dangling = conditions.filter(|c| c.type_.as_deref() == Some("Dangling")).find_map(|c| c.status.as_deref());
    let dangling = dangling.map(|status| status == "True");
    let spec = schema.spec.clone().unwrap_or_default();
    let schema = FlowSchema {
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
    };
    Known { schema, dangling }
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
