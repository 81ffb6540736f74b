//! `kubectl explain-pending`: why a pod waits for a node, from the scheduler itself.
//!
//! The API server has no way to the scheduler, so that the client asks it at its own port: at `--scheduler-url`, or else on the API
//! server's host at the port that schedulers listen on. The client's credentials are those for the API server, which the scheduler
//! asks who may read.

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use http_body_util::BodyExt;
use serde_json::Value;

use crate::cli::context::Context;
use crate::client::{Client, Query};
use crate::error::{Error, Result};
use crate::output::{plain, tabs};
use crate::{fail, out};

/// The port of a scheduler.
const PORT: u16 = 10259;

/// Runs the command.
pub async fn run(cx: &Context) -> Result<()> {
    let [name] = cx.args() else {
        return Err(Error::usage("explain-pending", "exactly one POD is required"));
    };
    let output = cx.flags.text("output");
    if !matches!(output, "" | "json") {
        fail!("--output {output} is not available: only json");
    }
    let name = name.strip_prefix("pod/").or_else(|| name.strip_prefix("pods/")).unwrap_or(name);
    let namespace = cx.namespace()?;
    let query = Query::default().with("namespace", &namespace).with("name", name).with("limit", cx.flags.text("limit"));
    let answer = ask(cx, &query.on("/debug/explain")).await?;
    if output == "json" {
        out(&(format!("{answer:#}\n")));
        return Ok(());
    }
    out(&report(&answer, cx.flags.bool("no-headers")));
    Ok(())
}

async fn ask(cx: &Context, path: &str) -> Result<Value> {
    let mut settings = cx.settings()?.clone();
    settings.server = match cx.flags.text("scheduler-url") {
        "" => beside(&settings.server)?,
        url => url.to_owned(),
    };
    settings.insecure |= cx.flags.bool("scheduler-insecure-skip-tls-verify");
    settings.impersonate = (None, None, Vec::new());
    let client = Client::new(&settings, Some(std::time::Duration::from_secs(30)))?;
    let server = &settings.server;
    let unreachable = |error: Error| match error {
        Error::Refused(_) | Error::Unreachable(_) => Error::Plain(format!(
            "cannot ask the scheduler at {server}: {error}\nSay where it is with --scheduler-url; a certificate that it made itself needs --scheduler-insecure-skip-tls-verify."
        )),
        other => other,
    };
    let response = client.send(Method::GET, path, &HeaderMap::new(), Bytes::new()).await.map_err(unreachable)?;
    let status = response.status();
    let body = response.into_body().collect().await;
    let body = body.map_err(|error| Error::Plain(format!("reading the scheduler's answer: {error}")))?.to_bytes();
    if !status.is_success() {
        // What the scheduler says of it is plain text.
        fail!("the scheduler at {server}: {}", String::from_utf8_lossy(&body).trim_end());
    }
    serde_json::from_slice(&body).map_err(|error| Error::Plain(format!("the scheduler at {server}: {error}")))
}

/// The scheduler's URL on the API server's host.
fn beside(server: &str) -> Result<String> {
    match server.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)) {
        Some(host) => Ok(format!("https://{host}:{PORT}")),
        None => fail!("invalid server URL {server:?}"),
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn joined(value: &Value, separator: &str) -> String {
    list(value).map(plain).collect::<Vec<_>>().join(separator)
}

/// The answer for people.
fn report(answer: &Value, no_headers: bool) -> String {
    let place = match answer["place"].as_str().unwrap_or_default() {
        "active" => "is next to be tried",
        "backoff" => "waits for its next attempt",
        "unschedulable" => "waits for a change of the cluster",
        "gated" => "is held back before it is tried",
        "binding" => "has a node and waits for a permit",
        other => other,
    };
    let mut text = format!("Pod {} {place}; attempts: {}", plain(&answer["pod"]), plain(&answer["attempts"]));
    let refused_by = joined(&answer["refusedBy"], ", ");
    if !refused_by.is_empty() {
        text.push_str(&format!("; refused by: {refused_by}"));
    }
    text.push('\n');
    let before = &answer["before"];
    if before.is_object() {
        text.push_str(&format!("{}: {}\n", plain(&before["plugin"]), joined(&before["reasons"], ", ")));
        return text;
    }
    text.push_str(&format!("{} of {} nodes would do now.\n\n", plain(&answer["fitting"]), plain(&answer["nodes"])));
    let mut rows = Vec::new();
    if !no_headers {
        rows.push(["NODE", "PLUGIN", "REASON", "NEEDS", "HAS"].map(str::to_owned).to_vec());
    }
    list(&answer["table"]).for_each(|row| rows.extend(lines(row)));
    text.push_str(&tabs::table(&rows));
    let shown = answer["table"].as_array().map_or(0, Vec::len) as u64;
    let hidden = answer["nodes"].as_u64().unwrap_or(0).saturating_sub(shown);
    if hidden > 0 {
        text.push_str(&format!("({hidden} more nodes: --limit)\n"));
    }
    if answer["nearest"].is_string() && answer["fitting"] == 0 {
        text.push_str(&format!("\nNearest fit: {}\n", plain(&answer["nearest"])));
    }
    text
}

/// The lines of one node: one for each thing that it lacks.
fn lines(row: &Value) -> Vec<Vec<String>> {
    let mut node = plain(&row["node"]);
    let mut rows = Vec::new();
    let mut add = |plugin: String, reason: String, needs: String, has: String| {
        rows.push(vec![std::mem::take(&mut node), plugin, reason, needs, has]);
    };
    let mut fits = true;
    for objection in list(&row["objections"]) {
        fits = false;
        let (plugin, reasons) = (plain(&objection["plugin"]), joined(&objection["reasons"], ", "));
        let mut lacks = list(&objection["lacks"]).peekable();
        if lacks.peek().is_none() {
            add(plugin.clone(), reasons.clone(), "-".to_owned(), "-".to_owned());
        }
        let (mut plugin, mut reasons) = (plugin, reasons);
        for lack in lacks {
            let what = plain(&lack["what"]);
            let needs = format!("{what} {}", plain(&lack["needed"]));
            add(std::mem::take(&mut plugin), std::mem::take(&mut reasons), needs, plain(&lack["has"]));
        }
    }
    if fits {
        add("-".to_owned(), "would do now".to_owned(), "-".to_owned(), "-".to_owned());
    }
    rows
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_is_readable() {
        let lack = |what: &str, needed: &str, has: &str| json!({"what": what, "needed": needed, "has": has});
        let answer = json!({"pod": "d/p", "place": "unschedulable", "attempts": 2, "refusedBy": ["NodePorts", "NodeResourcesFit"],
            "nodes": 3, "fitting": 0, "nearest": "n1", "table": [
                {"node": "n1", "objections": [{"plugin": "NodeResourcesFit", "reasons": ["Insufficient cpu", "Insufficient memory"],
                    "lacks": [lack("cpu", "3", "1"), lack("memory", "4Gi", "1Gi")]}]},
                {"node": "n2", "objections": [{"plugin": "PodTopologySpread", "reasons": ["too skewed"], "lacks": []}]}]});
        let want = "\
Pod d/p waits for a change of the cluster; attempts: 2; refused by: NodePorts, NodeResourcesFit
0 of 3 nodes would do now.

NODE   PLUGIN              REASON                                  NEEDS        HAS
n1     NodeResourcesFit    Insufficient cpu, Insufficient memory   cpu 3        1
                                                                   memory 4Gi   1Gi
n2     PodTopologySpread   too skewed                              -            -
(1 more nodes: --limit)

Nearest fit: n1
";
        assert_eq!(report(&answer, false), want);
        let held = json!({"pod": "d/p", "place": "gated", "attempts": 0, "refusedBy": [], "nodes": 1, "fitting": 0, "table": [],
            "before": {"plugin": "SchedulingGates", "reasons": ["waiting for scheduling gates: [x]"]}});
        let want = "Pod d/p is held back before it is tried; attempts: 0\nSchedulingGates: waiting for scheduling gates: [x]\n";
        assert_eq!(report(&held, false), want);
    }

    #[test]
    fn the_scheduler_is_beside_the_api_server() {
        assert_eq!(beside("https://10.0.0.1:6443").unwrap(), "https://10.0.0.1:10259");
        assert_eq!(beside("https://[::1]:6443/path").unwrap(), "https://[::1]:10259");
        assert!(beside("nonsense path").is_err());
    }
}
