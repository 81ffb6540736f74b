//! The parameters that a binding applies a policy with.

use apiserver::{cache::Scope, meta};
use serde_json::Value;

use super::compiled::ParamRef;
use crate::cell::CoreCell;

/// All sets of parameters; null where the policy has none. The error is the binding's.
pub(super) async fn collect(
    cell: &CoreCell,
    kind: Option<&[String; 3]>,
    reference: Option<&ParamRef>,
    request_namespace: &str,
) -> Result<Vec<Value>, String> {
    let (Some([group, version, kind]), Some(reference)) = (kind, reference) else { return Ok(vec![Value::Null]) };
    let core = cell.core().map_err(|e| e.message)?;
    let shown = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
    let resource = core
        .catalog
        .find_kind(group, version, kind)
        .ok_or_else(|| format!("failed to find resource referenced by paramKind: '{shown}, Kind={kind}'"))?;
    let namespace = match (resource.namespaced, reference.namespace.as_str(), request_namespace) {
        (false, "", _) => "",
        (false, ..) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned());
        }
        (true, "", "") => {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".to_owned()
            );
        }
        (true, "", own) => own,
        (true, named, _) => named,
    };
    let found = find(cell, &resource, namespace, reference).await?;
    if !found.is_empty() || reference.may_be_missing {
        return Ok(found);
    }
    Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned())
}

async fn find(
    cell: &CoreCell,
    resource: &apiserver::model::Resource,
    namespace: &str,
    reference: &ParamRef,
) -> Result<Vec<Value>, String> {
    let core = cell.core().map_err(|e| e.message)?;
    let scope = Scope { namespace: namespace.to_owned(), name: reference.name.clone(), term: None };
    let selector =
        if reference.name.is_empty() { Some(reference.selector.as_ref().map_err(Clone::clone)?) } else { None };
    let values = core.registry.known(resource, &scope).await.map_err(|e| e.message)?;
    let Some(selector) = selector else { return Ok(values) };
    Ok(values.into_iter().filter(|v| selector.matches(meta::get(v, "labels").and_then(Value::as_object))).collect())
}
