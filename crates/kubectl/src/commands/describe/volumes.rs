//! Volumes of pods.

use serde_json::Value;

use super::Page;
use crate::output::plain;

/// What upstream says about a kind of volume, and the fields that it shows: label, JSON field, and how an absent one reads.
struct Form {
    key: &'static str,
    title: &'static str,
    fields: &'static [(&'static str, &'static str, &'static str)],
}

const FORMS: &[Form] = &[
    Form {
        key: "hostPath",
        title: "HostPath (bare host directory volume)",
        fields: &[("Path", "path", ""), ("HostPathType", "type", "")],
    },
    Form {
        key: "emptyDir",
        title: "EmptyDir (a temporary directory that shares a pod's lifetime)",
        fields: &[("Medium", "medium", ""), ("SizeLimit", "sizeLimit", "<unset>")],
    },
    Form {
        key: "secret",
        title: "Secret (a volume populated by a Secret)",
        fields: &[("SecretName", "secretName", ""), ("Optional", "optional", "false")],
    },
    Form {
        key: "configMap",
        title: "ConfigMap (a volume populated by a ConfigMap)",
        fields: &[("Name", "name", ""), ("Optional", "optional", "false")],
    },
    Form {
        key: "persistentVolumeClaim",
        title: "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)",
        fields: &[("ClaimName", "claimName", ""), ("ReadOnly", "readOnly", "false")],
    },
    Form {
        key: "nfs",
        title: "NFS (an NFS mount that lasts the lifetime of a pod)",
        fields: &[("Server", "server", ""), ("Path", "path", ""), ("ReadOnly", "readOnly", "false")],
    },
    Form {
        key: "csi",
        title: "CSI (a Container Storage Interface (CSI) volume source)",
        fields: &[("Driver", "driver", ""), ("FSType", "fsType", ""), ("ReadOnly", "readOnly", "false")],
    },
    Form {
        key: "image",
        title: "Image (a container image or OCI artifact)",
        fields: &[("Reference", "reference", ""), ("PullPolicy", "pullPolicy", "")],
    },
    Form {
        key: "ephemeral",
        title: "EphemeralVolume (an inline specification for a volume that gets created and deleted with the pod)",
        fields: &[],
    },
];

/// Adds the volumes.
pub(super) fn volumes(page: &mut Page, level: usize, volumes: &Value) {
    let Some(list) = volumes.as_array().filter(|v| !v.is_empty()) else {
        return page.field(level, "Volumes", "<none>");
    };
    page.line(level, "Volumes:");
    for volume in list {
        // In pod templates everything but the names stands where it stands in pods.
        page.line(1, &format!("{}{}:", " ".repeat(level), plain(&volume["name"])));
        source(page, 2, volume);
    }
}

/// Adds what a volume is made of.
pub(super) fn source(page: &mut Page, level: usize, volume: &Value) {
    if let Some(form) = FORMS.iter().find(|f| volume[f.key].is_object()) {
        page.field(level, "Type", form.title);
        for (label, key, absent) in form.fields {
            let text = plain(&volume[form.key][key]);
            page.field(level, label, if text.is_empty() { *absent } else { text.as_str() });
        }
        return;
    }
    if volume["projected"].is_object() {
        page.field(level, "Type", "Projected (a volume that contains injected data from multiple sources)");
        for source in volume["projected"]["sources"].as_array().into_iter().flatten() {
            projected(page, level, source);
        }
        return;
    }
    if volume["downwardAPI"].is_object() {
        page.field(level, "Type", "DownwardAPI (a volume populated by information about the pod)");
        page.line(level, "Items:");
        for item in volume["downwardAPI"]["items"].as_array().into_iter().flatten() {
            let from = if item["fieldRef"].is_object() {
                plain(&item["fieldRef"]["fieldPath"])
            } else {
                plain(&item["resourceFieldRef"]["resource"])
            };
            page.line(level + 1, &format!("{from} -> {}", plain(&item["path"])));
        }
        return;
    }
    page.line(level, "<unknown>");
}

fn projected(page: &mut Page, level: usize, source: &Value) {
    if source["secret"].is_object() {
        page.field(level, "SecretName", plain(&source["secret"]["name"]));
        page.field(level, "Optional", optional(&source["secret"]));
    } else if source["downwardAPI"].is_object() {
        page.field(level, "DownwardAPI", "true");
    } else if source["configMap"].is_object() {
        page.field(level, "ConfigMapName", plain(&source["configMap"]["name"]));
        page.field(level, "Optional", optional(&source["configMap"]));
    } else if source["serviceAccountToken"].is_object() {
        page.field(level, "TokenExpirationSeconds", plain(&source["serviceAccountToken"]["expirationSeconds"]));
    }
}

fn optional(source: &Value) -> &'static str {
    if source["optional"].as_bool().unwrap_or(false) { "true" } else { "false" }
}
