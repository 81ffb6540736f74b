//! What is served outside of the resources: lists of groups, versions and resources, the program's version, keys and logs.

use serde_json::{Map, Value, json};

use super::{GroupVersionKind, Version, components::Components, document, operations, paths};

/// A document that is no group version's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root<'a> {
    /// `/api`: the versions of the core group.
    Core,
    /// `/apis`: all other groups.
    Groups,
    /// `/apis/<group>`.
    Group(&'a str),
    Version,
    Keys,
    KeysDiscovery,
}

// === impl Root ===

impl<'a> Root<'a> {
    /// The roots that are always there; each group has one more.
    pub const FIXED: [Root<'static>; 5] = [Root::Core, Root::Groups, Root::Version, Root::Keys, Root::KeysDiscovery];

    /// Which document this path below `/openapi/v3/` is.
    pub fn of_path(path: &'a str) -> Option<Self> {
        match path.strip_prefix("apis/") {
            Some(group) if !group.contains('/') => Some(Root::Group(group)),
            _ => Self::FIXED.into_iter().find(|root| root.path() == path),
        }
    }

    pub fn path(self) -> String {
        match self {
            Root::Core => "api".to_owned(),
            Root::Groups => "apis".to_owned(),
            Root::Group(group) => format!("apis/{group}"),
            Root::Version => "version".to_owned(),
            Root::Keys => "openid/v1/jwks".to_owned(),
            Root::KeysDiscovery => ".well-known/openid-configuration".to_owned(),
        }
    }

    fn operation_id(self) -> String {
        match self {
            Root::Core => "getCoreAPIVersions".to_owned(),
            Root::Groups => "getAPIVersions".to_owned(),
            Root::Group(group) => format!("get{}APIGroup", paths::camel(&paths::tag(group))),
            Root::Version => "getCodeVersion".to_owned(),
            Root::Keys => "getServiceAccountIssuerOpenIDKeyset".to_owned(),
            Root::KeysDiscovery => "getServiceAccountIssuerOpenIDConfiguration".to_owned(),
        }
    }

    fn tag(self) -> String {
        match self {
            Root::Core => "core".to_owned(),
            Root::Groups => "apis".to_owned(),
            Root::Group(group) => paths::tag(group),
            Root::Version => "version".to_owned(),
            Root::Keys => "openid".to_owned(),
            Root::KeysDiscovery => "WellKnown".to_owned(),
        }
    }

    /// The media types of the answer and its schema.
    fn answer(self, components: &mut Components) -> (&'static [&'static str], Value) {
        match self {
            Root::Core => (&operations::MEDIA_TYPES, components.meta("APIVersions", &[meta("APIVersions")])),
            Root::Groups => (&operations::MEDIA_TYPES, components.meta("APIGroupList", &[meta("APIGroupList")])),
            Root::Group(_) => (&operations::MEDIA_TYPES, components.meta("APIGroup", &[meta("APIGroup")])),
            Root::Version => {
                let info = components.plain("io.k8s.apimachinery.pkg.version.Info", version_info());
                (&["application/json"], info)
            }
            Root::Keys => (&["application/jwk-set+json"], json!({"type": "string"})),
            Root::KeysDiscovery => (&["application/json"], json!({"type": "string"})),
        }
    }
}

/// The document of a root, in version 3.
pub fn root(of: Root<'_>) -> Value {
    let mut components = Components::new(Version::V3);
    let paths = [of_root(Version::V3, of, &mut components)].into();
    document(paths, components)
}

/// The path of a root and what it has.
pub(super) fn of_root(style: Version, of: Root<'_>, components: &mut Components) -> (String, Value) {
    let (types, schema) = of.answer(components);
    let get = answer(style, &of.operation_id(), &of.tag(), types, &schema);
    (format!("/{}/", of.path()), json!({ "get": get }))
}

/// `/apis/<group>/<version>/`: the list of its resources.
pub(super) fn resources_of(
    style: Version,
    group: &str,
    version: &str,
    components: &mut Components,
) -> Map<String, Value> {
    let list = components.meta("APIResourceList", &[meta("APIResourceList")]);
    let tag = paths::tag(group);
    let id = format!("get{}{}APIResources", paths::camel(&tag), paths::camel(version));
    let get = answer(style, &id, &format!("{tag}_{version}"), &operations::MEDIA_TYPES, &list);
    Map::from_iter([("get".to_owned(), get)])
}

fn answer(style: Version, id: &str, tag: &str, types: &[&str], schema: &Value) -> Value {
    let mut operation = json!({ "tags": [tag], "operationId": id });
    let ok = match style {
        Version::V2 => {
            operation["produces"] = json!(types);
            operation["schemes"] = json!(["https"]);
            json!({"description": "OK", "schema": schema})
        }
        Version::V3 => json!({"description": "OK", "content": operations::content(types, schema)}),
    };
    operation["responses"] = json!({"200": ok, "401": paths::unauthorized()});
    operation
}

fn meta(kind: &str) -> GroupVersionKind {
    GroupVersionKind { group: String::new(), version: "v1".into(), kind: kind.into() }
}

/// What `/version` says; it is no kind of the API.
fn version_info() -> Value {
    let always =
        ["major", "minor", "gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform"];
    let others = ["emulationMajor", "emulationMinor", "minCompatibilityMajor", "minCompatibilityMinor"];
    let mut properties: Map<String, Value> =
        always.iter().map(|name| ((*name).to_owned(), json!({"type": "string", "default": ""}))).collect();
    properties.extend(others.iter().map(|name| ((*name).to_owned(), json!({"type": "string"}))));
    json!({"type": "object", "properties": properties, "required": always})
}
