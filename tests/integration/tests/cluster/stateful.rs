//! What becomes of the claims of stateful sets.

use api_types::k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use testkit::eventually;

use super::{MINUTE, in_default, on_cluster};

/// (name, whenDeleted, whenScaled)
const SETS: [(&str, &str, &str); 4] = [
    ("keeps", "Retain", "Retain"),
    ("scaled", "Retain", "Delete"),
    ("deleted", "Delete", "Retain"),
    ("both", "Delete", "Delete"),
];

async fn create_volumes(client: &Client, count: usize) {
    for number in 0..count {
        let volume = json!({"metadata": {"name": format!("pv-{number}")}, "spec": {"capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/data"}}});
        let volume: PersistentVolume = serde_json::from_value(volume).unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &volume).await.unwrap();
    }
}

async fn create_set(client: &Client, name: &str, deleted: &str, scaled: &str) {
    let labels = json!({"app": name});
    let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "",
        "resources": {"requests": {"storage": "1Gi"}}}});
    let set = json!({"metadata": {"name": name}, "spec": {"replicas": 2, "serviceName": name,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "hollow"}]}},
        "volumeClaimTemplates": [claim],
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted, "whenScaled": scaled}}});
    let set: StatefulSet = serde_json::from_value(set).unwrap();
    in_default(client).create(&PostParams::default(), &set).await.unwrap();
}

/// Scales, and waits until the pods are there and ready.
async fn scale(client: &Client, name: &str, replicas: i32) {
    let sets: Api<StatefulSet> = in_default(client);
    let patch = json!({"spec": {"replicas": replicas}});
    sets.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    let done = || async {
        let set = sets.get(name).await.map_err(|error| error.to_string())?;
        let status = set.status.clone().unwrap_or_default();
        let seen = status.observed_generation == set.metadata.generation;
        let counts = (status.replicas, status.ready_replicas.unwrap_or_default());
        if seen && counts == (replicas, replicas) { Ok(()) } else { Err(format!("{name}: {counts:?}")) }
    };
    eventually(5 * MINUTE, "the set scaled", done).await;
}

async fn claim(client: &Client, set: &str, ordinal: i32) -> Option<PersistentVolumeClaim> {
    in_default(client).get_opt(&format!("data-{set}-{ordinal}")).await.unwrap()
}

/// Waits until the claim is gone.
async fn gone(client: &Client, set: &str, ordinal: i32) {
    let gone =
        || async { claim(client, set, ordinal).await.map_or(Ok(()), |claim| Err(format!("{:?}", claim.metadata))) };
    eventually(2 * MINUTE, "the claim gone", gone).await;
}

/// Waits until the claim is owned by its set, or by nobody; its uid.
async fn owned(client: &Client, set: &str, ordinal: i32, by_set: bool) -> String {
    let owned = || async {
        let claim = claim(client, set, ordinal).await.ok_or("it is gone")?;
        let owners: Vec<_> = claim.owner_references().iter().map(|owner| (&*owner.kind, &*owner.name)).collect();
        let wanted = if by_set { vec![("StatefulSet", set)] } else { Vec::new() };
        if owners == wanted { Ok(claim.uid().unwrap()) } else { Err(format!("data-{set}-{ordinal}: {owners:?}")) }
    };
    eventually(MINUTE, "the claim with its owner", owned).await
}

#[test]
fn claims_go_or_stay_as_the_retention_policy_says() {
    on_cluster(72, 2, async |cluster| {
        let admin = cluster.admin();
        create_volumes(&admin, 12).await;
        for (name, deleted, scaled) in SETS {
            create_set(&admin, name, deleted, scaled).await;
        }
        let mut uids = Vec::new();
        for (name, deleted, _) in SETS {
            scale(&admin, name, 2).await;
            owned(&admin, name, 0, deleted == "Delete").await;
            uids.push(owned(&admin, name, 1, deleted == "Delete").await);
        }
        // Down: the condemned pod takes its claim with it, or leaves it.
        for (name, deleted, scaled) in SETS {
            scale(&admin, name, 1).await;
            match scaled {
                "Delete" => gone(&admin, name, 1).await,
                _ => drop(owned(&admin, name, 1, deleted == "Delete").await),
            }
            owned(&admin, name, 0, deleted == "Delete").await;
        }
        // Up: with the old claim or a new one.
        for ((name, deleted, scaled), old) in SETS.into_iter().zip(uids) {
            scale(&admin, name, 2).await;
            let new = owned(&admin, name, 1, deleted == "Delete").await;
            assert_eq!(new == old, scaled == "Retain", "{name}");
        }
        // Changed while it runs.
        let policy =
            |deleted: &str| json!({"spec": {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted}}});
        let sets: Api<StatefulSet> = in_default(&admin);
        for (deleted, by_set) in [("Delete", true), ("Retain", false)] {
            sets.patch("keeps", &PatchParams::default(), &Patch::Merge(policy(deleted))).await.unwrap();
            owned(&admin, "keeps", 0, by_set).await;
        }
        delete_sets(&admin, &sets).await;
    });
}

async fn delete_sets(admin: &Client, sets: &Api<StatefulSet>) {
    for (name, ..) in SETS {
        sets.delete(name, &DeleteParams::background()).await.unwrap();
    }
    let pods: Api<Pod> = in_default(admin);
    let no_pods = || async {
        let left = pods.list(&Default::default()).await.map_err(|error| error.to_string())?.items.len();
        if left == 0 { Ok(()) } else { Err(format!("{left} pods")) }
    };
    eventually(5 * MINUTE, "no pods", no_pods).await;
    for (name, deleted, _) in SETS.into_iter().rev() {
        for ordinal in 0..2 {
            match deleted {
                "Delete" => gone(admin, name, ordinal).await,
                _ => drop(owned(admin, name, ordinal, false).await),
            }
        }
    }
}
