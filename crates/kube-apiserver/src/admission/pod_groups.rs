//! PodGroupProtection and PodGroupWorkloadExists: in force where the gate `GenericWorkload` is on.

use apiserver::{
    admission::{Attributes, Operation, Plugin},
    error::Result,
    meta,
};
use async_trait::async_trait;
use serde_json::Value;

use crate::cell::CoreCell;

const GROUP: &str = "scheduling.k8s.io";
const FINALIZER: &str = "scheduling.k8s.io/podgroup-protection";

fn is_new(attributes: &Attributes<'_>, group: &str, plural: &str) -> bool {
    attributes.is(group, plural) && attributes.operation == Operation::Create
}

/// A group stays while pods belong to it, and a group that goes away takes no new ones.
pub(super) struct PodGroupProtection {
    pub(super) cell: CoreCell,
    pub(super) enabled: bool,
}

#[async_trait]
impl Plugin for PodGroupProtection {
    fn name(&self) -> &'static str {
        "PodGroupProtection"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        self.enabled && (is_new(attributes, GROUP, "podgroups") || is_new(attributes, "", "pods"))
    }

    async fn mutate(&self, attributes: &Attributes<'_>, group: &mut Value) -> Result<()> {
        if attributes.resource.plural == "podgroups" {
            let mut finalizers = meta::finalizers(group);
            if !finalizers.iter().any(|f| f == FINALIZER) {
                finalizers.push(FINALIZER.to_owned());
                meta::set_finalizers(group, &finalizers);
            }
        }
        Ok(())
    }

    async fn validate(&self, attributes: &Attributes<'_>, pod: &Value) -> Result<()> {
        let name = meta::path_text(pod, "spec.schedulingGroup.podGroupName");
        if attributes.resource.plural != "pods" || name.is_empty() {
            return Ok(());
        }
        let group = self.cell.cached(GROUP, "podgroups", attributes.namespace, &name)?;
        if !group.is_some_and(|g| meta::is_terminating(&g)) {
            return Ok(());
        }
        let why = format!("cannot create Pod referencing PodGroup {name:?} because it is being deleted");
        Err(attributes.forbidden(&why))
    }
}

/// A group that is made after a workload's template needs both.
pub(super) struct PodGroupWorkloadExists {
    pub(super) cell: CoreCell,
    pub(super) enabled: bool,
}

#[async_trait]
impl Plugin for PodGroupWorkloadExists {
    fn name(&self) -> &'static str {
        "PodGroupWorkloadExists"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        self.enabled && is_new(attributes, GROUP, "podgroups")
    }

    async fn validate(&self, attributes: &Attributes<'_>, group: &Value) -> Result<()> {
        let reference = &group["spec"]["podGroupTemplateRef"]["workload"];
        if !reference.is_object() {
            return Ok(());
        }
        let text = |name: &str| reference[name].as_str().unwrap_or_default();
        let (workload, template) = (text("workloadName"), text("podGroupTemplateName"));
        let Some(found) = self.cell.find(GROUP, "workloads", attributes.namespace, workload).await? else {
            return Err(attributes.forbidden(&format!("PodGroup rejected: Workload {workload:?} not found")));
        };
        let templates = found["spec"]["podGroupTemplates"].as_array();
        if templates.into_iter().flatten().any(|t| t["name"] == template) {
            return Ok(());
        }
        let why = format!("PodGroup rejected: PodGroupTemplate {template:?} not found in Workload {workload:?}");
        Err(attributes.forbidden(&why))
    }
}
