//! `kubectl set env`.

use serde_json::{Value, json};

use super::{matches, pod_spec, update};
use crate::cli::context::Context;
use crate::error::{Error, Result};
use crate::output::plain;
use crate::resource::select::{self, Selection};
use crate::{fail, out};

/// Runs the command.
pub async fn env(cx: &Context) -> Result<()> {
    let (mut words, mut changes): (Vec<String>, Vec<(String, Option<Value>)>) = (Vec::new(), Vec::new());
    let given = cx.args().iter().chain(cx.flags.array("env"));
    for word in given {
        match (word.split_once('='), word.strip_suffix('-')) {
            (Some((key, value)), _) => changes.push((key.to_owned(), Some(json!({"name": key, "value": value})))),
            (None, Some(key)) if !words.is_empty() => changes.push((key.to_owned(), None)),
            _ => words.push(word.clone()),
        }
    }
    if cx.flags.bool("list") {
        return show(cx, &words).await;
    }
    if let Some(source) = cx.flags.opt("from") {
        changes.extend(from(cx, source).await?);
    }
    if changes.is_empty() {
        fail!("at least one environment variable must be provided");
    }
    let pattern = cx.flags.text("containers").to_owned();
    update(cx, &words, "env updated", |info, object| {
        let Some(spec) = pod_spec(&info.resource.kind, object) else {
            fail!("the object is not a pod or does not have a pod template")
        };
        let mut found = false;
        for container in spec["containers"]
            .as_array_mut()
            .into_iter()
            .flatten()
            .filter(|c| matches(&pattern, c["name"].as_str().unwrap_or_default()))
        {
            found = true;
            let current = container["env"].as_array().cloned().unwrap_or_default();
            container["env"] = json!(changed(current, &changes, cx.flags.bool("overwrite"))?);
        }
        if found { Ok(()) } else { fail!("{} does not have any containers matching {pattern:?}", info.display()) }
    })
    .await
}

/// The variables after the changes.
fn changed(mut env: Vec<Value>, changes: &[(String, Option<Value>)], overwrite: bool) -> Result<Vec<Value>> {
    for (name, wanted) in changes {
        let at = env.iter().position(|e| e["name"] == name.as_str());
        match (wanted, at) {
            (None, _) => env.retain(|e| e["name"] != name.as_str()),
            (Some(entry), Some(at)) if overwrite || env[at] == *entry => env[at] = entry.clone(),
            (Some(_), Some(at)) => {
                fail!("'{name}' already has a value ({}), and --overwrite is false", plain(&env[at]["value"]))
            }
            (Some(entry), None) => env.push(entry.clone()),
        }
    }
    Ok(env)
}

/// Variables that refer to every key of a config map or secret.
async fn from(cx: &Context, source: &str) -> Result<Vec<(String, Option<Value>)>> {
    let info = select::one(cx, source, "configmaps").await?;
    let reference = match info.resource.kind.as_str() {
        "ConfigMap" => "configMapKeyRef",
        "Secret" => "secretKeyRef",
        kind => fail!("unsupported resource specified in --from: {kind}"),
    };
    let wanted = cx.flags.list("keys");
    let keys = info.object["data"].as_object().into_iter().flatten().map(|(k, _)| k.clone());
    Ok(keys
        .filter(|k| wanted.is_empty() || wanted.contains(k))
        .map(|key| {
            let name: String =
                key.to_uppercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
            let name = format!("{}{name}", cx.flags.text("prefix"));
            (name.clone(), Some(json!({"name": name, "valueFrom": {reference: {"key": key, "name": info.name}}})))
        })
        .collect())
}

async fn show(cx: &Context, words: &[String]) -> Result<()> {
    let (infos, errors) = select::objects(cx, words, Selection::default()).await?;
    Error::collect(errors)?;
    for info in infos {
        let mut object = info.object.clone();
        let Some(spec) = pod_spec(&info.resource.kind, &mut object) else { continue };
        for container in spec["containers"].as_array().into_iter().flatten() {
            out(&format!("# {} {}, container {}\n", info.resource.kind, info.name, plain(&container["name"])));
            for variable in container["env"].as_array().into_iter().flatten() {
                let from = &variable["valueFrom"];
                let name = plain(&variable["name"]);
                match from.as_object().and_then(|f| f.iter().next()) {
                    None => out(&format!("{name}={}\n", plain(&variable["value"]))),
                    Some((kind, reference)) => {
                        let of = match kind.as_str() {
                            "configMapKeyRef" => {
                                format!("configmap {}, key {}", plain(&reference["name"]), plain(&reference["key"]))
                            }
                            "secretKeyRef" => {
                                format!("secret {}, key {}", plain(&reference["name"]), plain(&reference["key"]))
                            }
                            _ => format!("field path {}", plain(&reference["fieldPath"])),
                        };
                        out(&format!("# {name} from {of}\n"));
                    }
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_change() {
        let env = vec![json!({"name": "A", "value": "1"}), json!({"name": "B", "value": "2"})];
        let set = |n: &str, v: &str| (n.to_owned(), Some(json!({"name": n, "value": v})));
        let changes = [set("A", "9"), ("B".to_owned(), None), set("C", "3")];
        assert_eq!(
            json!(changed(env.clone(), &changes, true).unwrap()),
            json!([{"name": "A", "value": "9"}, {"name": "C", "value": "3"}])
        );
        assert!(changed(env, &[set("A", "9")], false).is_err());
    }
}
