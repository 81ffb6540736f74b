//! Volumes, claims and storage classes.

use serde_json::Value;

use super::{Page, head, volumes};
use crate::output::plain;

fn modes(value: &Value) -> String {
    let short = |mode: &Value| match mode.as_str().unwrap_or_default() {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        _ => "",
    };
    value.as_array().into_iter().flatten().map(short).collect::<Vec<_>>().join(",")
}

fn finalizers(page: &mut Page, object: &Value) {
    let list: Vec<String> = object["metadata"]["finalizers"].as_array().into_iter().flatten().map(plain).collect();
    page.field(0, "Finalizers", format!("[{}]", list.join(" ")));
}

pub(super) fn claim(page: &mut Page, object: &Value) -> bool {
    let (metadata, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    page.field(0, "Name", plain(&metadata["name"]));
    page.field(0, "Namespace", plain(&metadata["namespace"]));
    page.field(0, "StorageClass", plain(&spec["storageClassName"]));
    let phase =
        if metadata["deletionTimestamp"].is_string() { "Terminating".to_owned() } else { plain(&status["phase"]) };
    page.field(0, "Status", phase);
    page.field(0, "Volume", plain(&spec["volumeName"]));
    page.labels(0, "Labels", &metadata["labels"]);
    page.annotations(0, &metadata["annotations"]);
    finalizers(page, object);
    let bound = spec["volumeName"].is_string();
    page.field(0, "Capacity", if bound { plain(&status["capacity"]["storage"]) } else { String::new() });
    page.field(0, "Access Modes", if bound { modes(&status["accessModes"]) } else { String::new() });
    page.field_if(0, "VolumeMode", &spec["volumeMode"]);
    true
}

pub(super) fn volume(page: &mut Page, object: &Value) -> bool {
    let (metadata, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    page.field(0, "Name", plain(&metadata["name"]));
    page.labels(0, "Labels", &metadata["labels"]);
    page.annotations(0, &metadata["annotations"]);
    finalizers(page, object);
    page.field(0, "StorageClass", plain(&spec["storageClassName"]));
    let phase =
        if metadata["deletionTimestamp"].is_string() { "Terminating".to_owned() } else { plain(&status["phase"]) };
    page.field(0, "Status", phase);
    let claim = &spec["claimRef"];
    page.field(
        0,
        "Claim",
        if claim.is_object() {
            format!("{}/{}", plain(&claim["namespace"]), plain(&claim["name"]))
        } else {
            String::new()
        },
    );
    page.field(0, "Reclaim Policy", plain(&spec["persistentVolumeReclaimPolicy"]));
    page.field(0, "Access Modes", modes(&spec["accessModes"]));
    page.field_if(0, "VolumeMode", &spec["volumeMode"]);
    page.field(0, "Capacity", plain(&spec["capacity"]["storage"]));
    page.field(0, "Node Affinity", if spec["nodeAffinity"].is_object() { "<see -o yaml>" } else { "<none>" });
    page.field(0, "Message", plain(&status["message"]));
    page.line(0, "Source:");
    volumes::source(page, 1, spec);
    true
}

pub(super) fn class(page: &mut Page, object: &Value) -> bool {
    head(page, object);
    let default = object["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true";
    page.field(0, "IsDefaultClass", if default { "Yes" } else { "No" });
    page.field(0, "Provisioner", plain(&object["provisioner"]));
    let parameters: Vec<String> =
        object["parameters"].as_object().into_iter().flatten().map(|(k, v)| format!("{k}={}", plain(v))).collect();
    page.field(0, "Parameters", if parameters.is_empty() { "<none>".to_owned() } else { parameters.join(",") });
    let or_unset = |value: &Value| if value.is_null() { "<unset>".to_owned() } else { plain(value) };
    page.field(0, "AllowVolumeExpansion", or_unset(&object["allowVolumeExpansion"]));
    let options: Vec<String> = object["mountOptions"].as_array().into_iter().flatten().map(plain).collect();
    page.fields(0, "MountOptions", &options);
    page.field(0, "ReclaimPolicy", or_unset(&object["reclaimPolicy"]));
    page.field(0, "VolumeBindingMode", or_unset(&object["volumeBindingMode"]));
    true
}
