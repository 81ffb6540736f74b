//! DefaultStorageClass and DefaultIngressClass: what names no class gets the one that is marked as default.

use std::sync::Arc;

use apiserver::{
    admission::{Attributes, Operation, Plugin},
    error::Result,
    meta,
};
use async_trait::async_trait;
use serde_json::Value;

use crate::cell::CoreCell;

/// One of the two plugins.
pub(super) struct DefaultClass {
    core: CoreCell,
    name: &'static str,
    /// What gets a class: (group, plural), its field, and the annotation that says it has one.
    of: (&'static str, &'static str),
    field: &'static str,
    old_annotation: &'static str,
    /// The classes, and the annotation that marks the default.
    classes: (&'static str, &'static str),
    mark: &'static str,
}

impl DefaultClass {
    pub(super) fn storage(core: CoreCell) -> Self {
        DefaultClass {
            core,
            name: "DefaultStorageClass",
            of: ("", "persistentvolumeclaims"),
            field: "storageClassName",
            old_annotation: "volume.beta.kubernetes.io/storage-class",
            classes: ("storage.k8s.io", "storageclasses"),
            mark: "storageclass.kubernetes.io/is-default-class",
        }
    }

    pub(super) fn ingress(core: CoreCell) -> Self {
        DefaultClass {
            core,
            name: "DefaultIngressClass",
            of: ("networking.k8s.io", "ingresses"),
            field: "ingressClassName",
            old_annotation: "kubernetes.io/ingress.class",
            classes: ("networking.k8s.io", "ingressclasses"),
            mark: "ingressclass.kubernetes.io/is-default-class",
        }
    }

    /// Of several defaults the newest, of several as new the first by name.
    fn default(&self) -> Result<Option<Arc<Value>>> {
        let marked = |class: &Arc<Value>| annotation(class, self.mark) == Some("true");
        let mut classes = self.core.list(self.classes.0, self.classes.1, "")?;
        classes.retain(marked);
        classes.sort_by(|a, b| {
            let created = |v: &Value| meta::text(v, "creationTimestamp").to_owned();
            created(b).cmp(&created(a)).then_with(|| meta::name(a).cmp(meta::name(b)))
        });
        Ok(classes.into_iter().next())
    }
}

fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    meta::get(object, "annotations")?.get(name)?.as_str()
}

#[async_trait]
impl Plugin for DefaultClass {
    fn name(&self) -> &'static str {
        self.name
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Create && attributes.is(self.of.0, self.of.1)
    }

    async fn mutate(&self, _: &Attributes<'_>, object: &mut Value) -> Result<()> {
        let named = object.get("spec").is_some_and(|s| s.get(self.field).is_some_and(|f| !f.is_null()));
        if named || annotation(object, self.old_annotation).is_some() {
            return Ok(());
        }
        if let Some(class) = self.default()? {
            meta::map_mut(object, "spec").insert(self.field.to_owned(), meta::name(&class).into());
        }
        Ok(())
    }
}
