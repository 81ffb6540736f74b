//! `kubectl describe`: a kind's own description, or a generic one of whatever the object holds.

mod data;
mod events;
mod generic;
mod network;
mod node;
mod pod;
mod rbac;
mod storage;
mod volumes;
mod workloads;

pub(crate) use events::age as event_age;
pub use pod::pod_template;

use serde_json::Value;

use crate::cli::context::Context;
use crate::error::{Error, Result};
use crate::output::{plain, tabs};
use crate::resource::select::{self, Selection};
use crate::resource::{Info, list};
use crate::{fail, out};

/// Text with tab-separated cells, in nested levels.
#[derive(Default)]
pub(super) struct Page(String);

impl Page {
    /// A line without cells.
    pub(super) fn line(&mut self, level: usize, text: &str) {
        self.0.push_str(&"  ".repeat(level));
        self.0.push_str(text);
        self.0.push('\n');
    }

    /// `Name:<tab>value`.
    pub(super) fn field(&mut self, level: usize, name: &str, value: impl AsRef<str>) {
        self.line(level, &format!("{name}:\t{}", value.as_ref()));
    }

    /// A field, when it has a value.
    pub(super) fn field_if(&mut self, level: usize, name: &str, value: &Value) {
        let text = plain(value);
        if !text.is_empty() {
            self.field(level, name, text);
        }
    }

    /// A field with several values, below each other.
    pub(super) fn fields(&mut self, level: usize, name: &str, values: &[String]) {
        match values.split_first() {
            None => self.field(level, name, "<none>"),
            Some((first, rest)) => {
                self.field(level, name, first);
                for value in rest {
                    self.line(level, &format!("\t{value}"));
                }
            }
        }
    }

    /// A map as `key=value` lines.
    pub(super) fn labels(&mut self, level: usize, name: &str, labels: &Value) {
        let pairs: Vec<String> =
            labels.as_object().into_iter().flatten().map(|(k, v)| format!("{k}={}", plain(v))).collect();
        self.fields(level, name, &pairs);
    }

    /// Annotations as `key: value` lines; long or many-lined values stand below their key.
    pub(super) fn annotations(&mut self, level: usize, annotations: &Value) {
        let shown: Vec<(&String, &str)> = annotations
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, _)| *key != super::apply::last_applied::ANNOTATION)
            .map(|(key, value)| (key, value.as_str().unwrap_or_default()))
            .collect();
        if shown.is_empty() {
            return self.field(level, "Annotations", "<none>");
        }
        for (i, (key, value)) in shown.into_iter().enumerate() {
            let head = if i == 0 { "Annotations:" } else { "" };
            let value = value.strip_suffix('\n').unwrap_or(value);
            if value.contains('\n') || key.len() + value.len() > 140 {
                self.line(level, &format!("{head}\t{key}:"));
                for line in value.split('\n') {
                    let cut: String = line.chars().take(140).collect();
                    let dots = if cut.len() < line.len() { "..." } else { "" };
                    self.line(level, &format!("\t  {cut}{dots}"));
                }
            } else {
                self.line(level, &format!("{head}\t{key}: {value}"));
            }
        }
    }

    /// The finished text.
    pub(super) fn text(&self) -> String {
        tabs::elastic(&self.0)
    }
}

/// Runs the command.
pub async fn run(cx: &Context) -> Result<()> {
    let words = cx.args();
    if words.is_empty() && !cx.flags.changed("filename") && cx.flags.opt("kustomize").is_none() {
        fail!(
            "You must specify the type of resource to describe. Use \"kubectl api-resources\" for a complete list of supported resources."
        );
    }
    let selection = Selection { whole_types: true, ..Selection::default() };
    let (mut infos, mut errors) = select::objects(cx, words, selection).await?;
    // A name that no object has may be the beginning of some.
    if infos.is_empty() && errors.iter().all(Error::is_not_found) && words.len() == 2 {
        let found = by_prefix(cx, &words[0], &words[1]).await?;
        if !found.is_empty() {
            errors.clear();
            infos = found;
        }
    }
    if infos.is_empty() && errors.is_empty() {
        let namespaced = match words.first() {
            Some(word) => cx.find_resource(word).await?.is_some_and(|r| r.namespaced),
            None => false,
        };
        if namespaced && !cx.flags.bool("all-namespaces") {
            eprintln!("No resources found in {} namespace.", cx.namespace()?);
        } else {
            eprintln!("No resources found");
        }
    }
    for (i, info) in infos.iter().enumerate() {
        if i > 0 {
            out("\n\n");
        }
        out(&describe(cx, info).await?);
    }
    Error::collect(errors)
}

async fn by_prefix(cx: &Context, kind: &str, prefix: &str) -> Result<Vec<Info>> {
    let resource = cx.resource(kind).await?;
    let namespace = if resource.namespaced { Some(cx.namespace()?) } else { None };
    let all = list(cx, &resource, namespace.as_deref(), &select::selectors(cx), 500).await?;
    let items = all["items"].as_array().into_iter().flatten();
    Ok(items.map(|o| Info::of_item(&resource, o.clone())).filter(|i| i.name.starts_with(prefix)).collect())
}

/// The description of an object.
async fn describe(cx: &Context, info: &Info) -> Result<String> {
    let mut page = Page::default();
    let object = &info.object;
    let with_events = match (info.resource.group.as_str(), info.resource.kind.as_str()) {
        ("", "Pod") => pod::pod(&mut page, object),
        ("", "Node") => node::node(cx, &mut page, object).await?,
        ("apps", "Deployment") => workloads::deployment(cx, &mut page, object).await?,
        ("apps", "ReplicaSet") | ("", "ReplicationController") => workloads::replicaset(cx, &mut page, object).await?,
        ("apps", "StatefulSet") => workloads::statefulset(cx, &mut page, object).await?,
        ("apps", "DaemonSet") => workloads::daemonset(cx, &mut page, object).await?,
        ("batch", "Job") => workloads::job(&mut page, object),
        ("batch", "CronJob") => workloads::cronjob(&mut page, object),
        ("", "Service") => network::service(cx, &mut page, object).await?,
        ("", "Endpoints") => network::endpoints(&mut page, object),
        ("discovery.k8s.io", "EndpointSlice") => network::endpoint_slice(&mut page, object),
        ("networking.k8s.io", "Ingress") => network::ingress(&mut page, object),
        ("", "Namespace") => data::namespace(cx, &mut page, object).await?,
        ("", "ConfigMap") => data::configmap(&mut page, object),
        ("", "Secret") => data::secret(&mut page, object),
        ("", "ServiceAccount") => data::serviceaccount(&mut page, object),
        ("", "ResourceQuota") => data::quota(&mut page, object),
        ("scheduling.k8s.io", "PriorityClass") => data::priorityclass(&mut page, object),
        ("policy", "PodDisruptionBudget") => data::poddisruptionbudget(&mut page, object),
        ("autoscaling", "HorizontalPodAutoscaler") => workloads::autoscaler(&mut page, object),
        ("", "PersistentVolumeClaim") => storage::claim(&mut page, object),
        ("", "PersistentVolume") => storage::volume(&mut page, object),
        ("storage.k8s.io", "StorageClass") => storage::class(&mut page, object),
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => rbac::role(&mut page, object),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => rbac::binding(&mut page, object),
        _ => generic::object(&mut page, object),
    };
    if with_events && cx.flags.bool("show-events") {
        events::of_object(cx, &mut page, info).await?;
    }
    Ok(page.text())
}

/// Name, namespace, labels and annotations, as most descriptions begin.
pub(super) fn head(page: &mut Page, object: &Value) {
    let metadata = &object["metadata"];
    page.field(0, "Name", plain(&metadata["name"]));
    if metadata["namespace"].is_string() {
        page.field(0, "Namespace", plain(&metadata["namespace"]));
    }
    page.labels(0, "Labels", &metadata["labels"]);
    page.annotations(0, &metadata["annotations"]);
}

/// A label selector as text: `a=b,c in (d,e)`. Nothing for none, the empty text for everything.
pub fn selector_text(selector: &Value) -> Option<String> {
    let map = selector.as_object()?;
    let mut parts: Vec<String> = Vec::new();
    // A plain map (services, replication controllers) or a selector with its two fields.
    let labels = if map.contains_key("matchLabels") || map.contains_key("matchExpressions") {
        &selector["matchLabels"]
    } else {
        selector
    };
    parts.extend(
        labels
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, v)| v.is_string())
            .map(|(k, v)| format!("{k}={}", plain(v))),
    );
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = plain(&expression["key"]);
        let values: Vec<String> = expression["values"].as_array().into_iter().flatten().map(plain).collect();
        parts.push(match expression["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key,
            _ => format!("!{key}"),
        });
    }
    Some(parts.join(","))
}

/// The selector for people: `<none>` for none, `<unset>`-free.
pub(super) fn selector_shown(selector: &Value) -> String {
    match selector_text(selector) {
        Some(text) if !text.is_empty() => text,
        Some(_) => "<none>".to_owned(),
        None => "<unset>".to_owned(),
    }
}

/// `Kind/name` of the controlling owner.
pub(super) fn controller(object: &Value) -> Option<String> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    let owner = owners.iter().find(|o| o["controller"] == true)?;
    Some(format!("{}/{}", plain(&owner["kind"]), plain(&owner["name"])))
}

/// `True` and `False`, as Go's templates print conditions' booleans.
pub(super) fn yes_no(value: &Value) -> &'static str {
    if value.as_bool().unwrap_or(false) { "True" } else { "False" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_are_said() {
        for (selector, want) in [
            (
                json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "In", "values": ["d", "e"]}, {"key": "f", "operator": "DoesNotExist"}]}),
                Some("a=b,c in (d,e),!f"),
            ),
            (json!({"app": "x"}), Some("app=x")),
            (json!({}), Some("")),
            (Value::Null, None),
        ] {
            assert_eq!(selector_text(&selector).as_deref(), want);
        }
    }

    #[test]
    fn heads() {
        let mut page = Page::default();
        head(
            &mut page,
            &json!({"metadata": {"name": "a", "namespace": "n", "labels": {"x": "1", "y": "2"}, "annotations": {"k": "v", "long": "a\nb"}}}),
        );
        assert_eq!(
            page.text(),
            "Name:         a\nNamespace:    n\nLabels:       x=1\n              y=2\nAnnotations:  k: v\n              long:\n                a\n                b\n"
        );
    }
}
