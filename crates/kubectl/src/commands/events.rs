//! `kubectl events`.

use http::Method;
use serde_json::{Value, json};

use super::describe::event_age;
use crate::cli::context::Context;
use crate::client::{Lines, Query, parse};
use crate::error::{Error, Result};
use crate::output::printer::{Format, without_managed_fields};
use crate::output::{plain, tabs};
use crate::resource::{Info, list};
use crate::{fail, out};

/// Runs the command.
pub async fn run(cx: &Context) -> Result<()> {
    let resource = cx.resource("events").await?;
    let everywhere = cx.flags.bool("all-namespaces");
    let namespace = if everywhere { None } else { Some(cx.namespace()?) };
    let types = cx.flags.list("types");
    if let Some(wrong) = types.iter().find(|t| !matches!(t.to_lowercase().as_str(), "normal" | "warning")) {
        fail!("valid --types are Normal or Warning, not {wrong}");
    }
    let mut selector = Vec::new();
    if let Some(target) = cx.flags.opt("for") {
        let Some((kind, name)) = target.split_once('/') else { fail!("--for must be in resource/name form") };
        let kind = cx.resource(kind).await?.kind;
        selector.push(format!("involvedObject.kind={kind},involvedObject.name={name}"));
    }
    let query = Query::default().with_opt("fieldSelector", (!selector.is_empty()).then(|| selector.join(",")));
    let wanted = |event: &Value| {
        types.is_empty() || types.iter().any(|t| t.eq_ignore_ascii_case(event["type"].as_str().unwrap_or_default()))
    };
    let found = list(cx, &resource, namespace.as_deref(), &query, cx.flags.int("chunk-size")).await?;
    let mut events: Vec<Value> = found["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|e| wanted(e))
        .map(|e| Info::of_item(&resource, e.clone()).object)
        .collect();
    events.sort_by_key(time);
    let format = Format::of(&cx.flags)?;
    let watching = cx.flags.bool("watch");
    if events.is_empty() && !watching {
        if everywhere {
            eprintln!("No events found.");
        } else {
            eprintln!("No events found in {} namespace.", namespace.unwrap_or_default());
        }
        return Ok(());
    }
    if !format.is_human() && !watching {
        let items: Vec<Value> = events.into_iter().map(|e| without_managed_fields(e, &cx.flags)).collect();
        out(&format.object(&json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items}), ""));
        return Ok(());
    }
    let mut widths = Vec::new();
    let mut rows = Vec::new();
    if !cx.flags.bool("no-headers") {
        let mut header: Vec<String> = ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"].map(str::to_owned).to_vec();
        if everywhere {
            header.insert(0, "NAMESPACE".to_owned());
        }
        rows.push(header);
    }
    rows.extend(events.iter().map(|e| row(e, everywhere)));
    out(&tabs::align(&rows, 6, 3, &mut widths));
    if !watching {
        return Ok(());
    }
    let version = plain(&found["metadata"]["resourceVersion"]);
    let path = query.with("watch", "true").with("resourceVersion", version).on(&resource.path(namespace.as_deref()));
    let mut lines = Lines::new(cx.client()?.request(Method::GET, &path, crate::client::JSON, None).await?);
    while let Some(line) = lines.next().await? {
        let mut event = parse(&line)?;
        match event["type"].as_str().unwrap_or_default() {
            "ERROR" => return Err(Error::Status(Box::new(event["object"].take()))),
            "ADDED" | "MODIFIED" if wanted(&event["object"]) => {
                out(&tabs::align(&[row(&event["object"], everywhere)], 6, 3, &mut widths))
            }
            _ => {}
        }
    }
    Ok(())
}

fn time(event: &Value) -> String {
    [&event["series"]["lastObservedTime"], &event["lastTimestamp"], &event["eventTime"]]
        .into_iter()
        .find(|t| t.is_string())
        .map_or_else(String::new, plain)
}

fn row(event: &Value, everywhere: bool) -> Vec<String> {
    let object = &event["involvedObject"];
    let mut row = vec![
        event_age(event),
        plain(&event["type"]),
        plain(&event["reason"]),
        format!("{}/{}", plain(&object["kind"]), plain(&object["name"])),
        plain(&event["message"]).trim().to_owned(),
    ];
    if everywhere {
        row.insert(0, plain(&event["metadata"]["namespace"]));
    }
    row
}
