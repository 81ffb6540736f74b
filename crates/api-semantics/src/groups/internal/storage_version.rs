//! StorageVersion: how each API server stores a resource.

use crate::field::{Errors, Field};
use crate::kind::{Kind, empty_status};
use crate::names;

pub(crate) static KIND: Kind =
    Kind { initial_status: Some(empty_status), name: group_and_resource, validate_part, ..Kind::CLUSTER };

/// `GROUP.RESOURCE`.
fn group_and_resource(name: &str, _prefix: bool) -> Vec<String> {
    let Some((group, resource)) = name.rsplit_once('.') else {
        return vec!["name must be in the form of <group>.<resource>".to_owned()];
    };
    let group = names::dns1123_subdomain(group).into_iter().map(|m| format!("the group segment {m}"));
    let resource = names::dns1035_label(resource).into_iter().map(|m| format!("the resource segment {m}"));
    group.chain(resource).collect()
}

fn validate_part(_part: crate::strategy::Part, new: &Field, _old: &Field, errors: &mut Errors) {
    let status = new.get("status");
    let versions = status.get("storageVersions");
    for version in versions.items() {
        let (server, encoding) = (version.get("apiServerID"), version.get("encodingVersion"));
        errors.invalid_each(&server, names::dns1123_subdomain(server.str()));
        let decodable = version.get("decodableVersions");
        if !decodable.items().any(|v| v.str() == encoding.str()) {
            let detail = format!("decodableVersions must include encodingVersion {}", encoding.str());
            errors.invalid(&decodable, detail);
        }
    }
    common_version(&versions, &status.get("commonEncodingVersion"), errors);
}

/// The version that all servers write, if there is one, is told; otherwise none is.
fn common_version(versions: &Field, told: &Field, errors: &mut Errors) {
    let mut all = versions.items().map(|v| v.str_of("encodingVersion").to_owned());
    let first = all.next();
    let common = first.filter(|first| all.all(|other| other == *first));
    match (common, told.exists()) {
        (None, true) => errors.invalid(
            told,
            "should be nil if servers do not agree on the same encoding version, or if there is no server reporting the supported versions yet",
        ),
        (Some(common), false) => errors.invalid(told, format!("the common encoding version is {common}")),
        (Some(common), true) if common != told.str() => {
            errors.invalid(told, format!("the actual common encoding version is {common}"));
        }
        _ => {}
    }
}
