//! The events of an object.

use jiff::Timestamp;
use serde_json::Value;

use super::Page;
use crate::cli::context::Context;
use crate::client::Query;
use crate::duration::{human, now};
use crate::error::Result;
use crate::output::plain;
use crate::resource::{Info, list};

/// Adds the events of an object to its description.
pub(super) async fn of_object(cx: &Context, page: &mut Page, info: &Info) -> Result<()> {
    let resource = cx.resource("events").await?;
    let metadata = &info.object["metadata"];
    let mut selector = format!("involvedObject.name={},involvedObject.kind={}", info.name, info.resource.kind);
    if let Some(namespace) = metadata["namespace"].as_str() {
        selector.push_str(&format!(",involvedObject.namespace={namespace}"));
    }
    // Events about nodes carry the node's name for its UID.
    if let Some(uid) = metadata["uid"].as_str().filter(|_| info.resource.kind != "Node") {
        selector.push_str(&format!(",involvedObject.uid={uid}"));
    }
    let found =
        list(cx, &resource, metadata["namespace"].as_str(), &Query::default().with("fieldSelector", selector), 500)
            .await?;
    let mut events: Vec<&Value> = found["items"].as_array().into_iter().flatten().collect();
    events.sort_by_key(|e| last(e));
    table(page, &events);
    Ok(())
}

fn table(page: &mut Page, events: &[&Value]) {
    if events.is_empty() {
        return page.field(0, "Events", "<none>");
    }
    page.line(0, "Events:");
    page.line(1, "Type\tReason\tAge\tFrom\tMessage");
    page.line(1, "----\t------\t----\t----\t-------");
    for event in events {
        let message = plain(&event["message"]);
        page.line(
            1,
            &format!(
                "{}\t{}\t{}\t{}\t{}",
                plain(&event["type"]),
                plain(&event["reason"]),
                age(event),
                source(event),
                message.trim()
            ),
        );
    }
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

fn last(event: &Value) -> Option<Timestamp> {
    time(&event["series"]["lastObservedTime"])
        .or_else(|| time(&event["lastTimestamp"]))
        .or_else(|| time(&event["eventTime"]))
}

/// How long ago: `5s`, or `5s (x3 over 2m)` for a repeated event.
pub(crate) fn age(event: &Value) -> String {
    let since =
        |t: Option<Timestamp>| t.map_or_else(|| "<unknown>".to_owned(), |t| human(now().as_second() - t.as_second()));
    let first = time(&event["firstTimestamp"]).or_else(|| time(&event["eventTime"]));
    let count = event["series"]["count"].as_i64().or(event["count"].as_i64()).unwrap_or(1);
    if count > 1 {
        return format!("{} (x{count} over {})", since(last(event)), since(first));
    }
    since(first.or_else(|| last(event)))
}

/// Who reported it.
fn source(event: &Value) -> String {
    let component = plain(&event["source"]["component"]);
    if component.is_empty() { plain(&event["reportingComponent"]) } else { component }
}
