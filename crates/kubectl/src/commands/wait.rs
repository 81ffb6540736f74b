//! `kubectl wait`.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::report::{DryRun, Reporter};
use crate::cli::context::Context;
use crate::error::{Error, Result};
use crate::fail;
use crate::output::jsonpath::Template;
use crate::output::plain;
use crate::resource::Info;
use crate::resource::select::{self, Selection};

/// How often objects are looked at.
const POLL: Duration = Duration::from_millis(100);

/// What is waited for.
enum Goal {
    Delete,
    Create,
    Condition { kind: String, status: String },
    Path { path: Template, value: Option<String> },
}

/// Runs the command.
pub async fn run(cx: &Context) -> Result<()> {
    let goal = goal(cx.flags.text("for"))?;
    let timeout = cx.flags.duration("timeout");
    // As upstream: zero looks once.
    let deadline = Instant::now() + timeout;
    let reporter = Reporter::new(cx, DryRun::No)?;
    let selection = Selection::default();
    let (infos, errors) = loop {
        let found = select::objects(cx, cx.args(), selection).await;
        let (infos, errors) = found?;
        let missing = errors.iter().any(Error::is_not_found);
        match goal {
            // What is gone already needs no waiting.
            Goal::Delete if missing => break (infos, errors.into_iter().filter(|e| !e.is_not_found()).collect()),
            Goal::Create if (missing || infos.is_empty()) && Instant::now() < deadline => {
                tokio::time::sleep(POLL).await
            }
            _ => break (infos, errors),
        }
    };
    Error::collect(errors)?;
    if infos.is_empty() && !matches!(goal, Goal::Delete) {
        fail!("no matching resources found");
    }
    let mut failed = Vec::new();
    for info in infos {
        match reach(cx, &goal, &info, deadline).await {
            Ok(object) => {
                let done = match goal {
                    Goal::Create => "created",
                    Goal::Delete => "condition met",
                    _ => "condition met",
                };
                reporter.say(&info, &object, done);
            }
            Err(error @ Error::Status(_)) => return Err(error),
            Err(error) => failed.push(error),
        }
    }
    Error::collect(failed)
}

fn goal(text: &str) -> Result<Goal> {
    let lower = text.to_lowercase();
    if lower == "delete" {
        return Ok(Goal::Delete);
    }
    if lower == "create" {
        return Ok(Goal::Create);
    }
    if lower.starts_with("condition=") {
        let condition = &text["condition=".len()..];
        let (kind, status) = condition.split_once('=').unwrap_or((condition, "true"));
        return Ok(Goal::Condition { kind: kind.to_owned(), status: status.to_owned() });
    }
    if lower.starts_with("jsonpath=") {
        return path_goal(&text["jsonpath=".len()..]);
    }
    fail!("unrecognized condition: {text:?}")
}

fn path_goal(text: &str) -> Result<Goal> {
    let unquoted = text.trim_matches('\'');
    let (path, value) = match unquoted.find('}') {
        Some(end) => (&unquoted[..=end], unquoted[end + 1..].trim_start_matches('\'').strip_prefix('=')),
        None => unquoted.split_once('=').map_or((unquoted, None), |(p, v)| (p, Some(v))),
    };
    if value.is_some_and(str::is_empty) {
        fail!("jsonpath wait has to have a value after equal sign, like --for=jsonpath='{{.status.readyReplicas}}'=3");
    }
    let path = Template::relaxed(path).map_err(Error::Plain)?;
    Ok(Goal::Path { path, value: value.map(|v| v.trim_matches(['"', '\'']).to_owned()) })
}

async fn reach(cx: &Context, goal: &Goal, info: &Info, deadline: Instant) -> Result<Value> {
    loop {
        match info.fetch(cx).await {
            Ok(object) => {
                let other = object["metadata"]["uid"] != info.object["metadata"]["uid"];
                if holds(goal, &object) || matches!(goal, Goal::Delete) && other {
                    return Ok(object);
                }
            }
            Err(error) if error.is_not_found() && matches!(goal, Goal::Delete) => return Ok(info.object.clone()),
            Err(error) => return Err(error),
        }
        if Instant::now() >= deadline {
            fail!("timed out waiting for the condition on {}/{}", info.resource.name, info.name);
        }
        tokio::time::sleep(POLL).await;
    }
}

fn holds(goal: &Goal, object: &Value) -> bool {
    match goal {
        Goal::Delete => false,
        Goal::Create => true,
        Goal::Condition { kind, status } => {
            // A condition of an older generation says nothing about the wanted state.
            let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
            let observed = object["status"]["observedGeneration"].as_i64();
            if observed.is_some_and(|o| o < generation) {
                return false;
            }
            let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
            conditions.any(|c| {
                let text = |key: &str| c[key].as_str().unwrap_or_default().to_lowercase();
                text("type") == kind.to_lowercase() && text("status") == status.to_lowercase()
            })
        }
        Goal::Path { path, value } => {
            let found = path.first_values(object);
            match value {
                None => !found.is_empty(),
                Some(wanted) => found.len() == 1 && plain(found[0]) == *wanted,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn goals() {
        let object = json!({"metadata": {"generation": 2}, "status": {"observedGeneration": 2, "phase": "Running", "n": 3, "conditions": [{"type": "Ready", "status": "True"}]}});
        for (text, want) in [
            ("condition=Ready", true),
            ("condition=ready=true", true),
            ("condition=Ready=false", false),
            ("condition=Other", false),
            ("jsonpath={.status.phase}=Running", true),
            ("jsonpath='{.status.n}'=3", true),
            ("jsonpath={.status.n}=4", false),
            ("jsonpath={.status.phase}", true),
            ("jsonpath=.status.missing", false),
            ("create", true),
            ("delete", false),
        ] {
            assert_eq!(holds(&goal(text).unwrap(), &object), want, "{text}");
        }
        let mut old = object.clone();
        old["metadata"]["generation"] = json!(3);
        assert!(!holds(&goal("condition=Ready").unwrap(), &old));
        assert_eq!(goal("").err().unwrap().report().0, "error: unrecognized condition: \"\"");
    }
}
