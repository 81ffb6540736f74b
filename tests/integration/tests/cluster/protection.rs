//! What is in use is not removed.

use api_types::k8s_openapi::api::{core::v1::PersistentVolumeClaim, storage::v1::VolumeAttributesClass};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, PostParams},
};
use serde_json::json;
use testkit::eventually;

use super::{MINUTE, in_default, on_cluster};

#[test]
fn an_attributes_class_stays_while_a_claim_wants_it() {
    on_cluster(75, 0, async |cluster| {
        let admin = cluster.admin();
        let classes: Api<VolumeAttributesClass> = Api::all(admin.clone());
        let class =
            json!({"metadata": {"name": "fast"}, "driverName": "csi.example.com", "parameters": {"iops": "100"}});
        classes.create(&PostParams::default(), &serde_json::from_value(class).unwrap()).await.unwrap();
        let is_protected = || async {
            let class = classes.get("fast").await.map_err(|error| error.to_string())?;
            let finalizers = class.finalizers();
            if finalizers == ["kubernetes.io/vac-protection"] { Ok(()) } else { Err(format!("{finalizers:?}")) }
        };
        eventually(MINUTE, "the class protected", is_protected).await;
        let claims: Api<PersistentVolumeClaim> = in_default(&admin);
        for name in ["a", "b"] {
            let claim = json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"],
                "volumeAttributesClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}}});
            claims.create(&PostParams::default(), &serde_json::from_value(claim).unwrap()).await.unwrap();
        }
        classes.delete("fast", &DeleteParams::default()).await.unwrap();
        // With one of two claims gone the class still is there.
        for (claim, left) in [("a", true), ("b", false)] {
            claims.delete(claim, &DeleteParams::default()).await.unwrap();
            let gone = || async {
                let found = claims.get_opt(claim).await.map_err(|error| error.to_string())?;
                found.map_or(Ok(()), |claim| Err(format!("{:?}", claim.metadata)))
            };
            eventually(MINUTE, "the claim gone", gone).await;
            if left {
                assert!(classes.get("fast").await.unwrap().metadata.deletion_timestamp.is_some());
            }
        }
        let gone = || async {
            let found = classes.get_opt("fast").await.map_err(|error| error.to_string())?;
            found.map_or(Ok(()), |class| Err(format!("{:?}", class.metadata)))
        };
        eventually(MINUTE, "the class gone", gone).await;
    });
}
