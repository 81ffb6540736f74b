//! What goes on at the gate, as text for people: `/debug/api_priority_and_fairness/dump_*`.

use super::{
    queues::{QueueSet, Request, Running},
    seats::Seats,
};
use crate::query::Query;

const LEVELS: &[&str] = &[
    "PriorityLevelName",
    "ActiveQueues",
    "IsIdle",
    "IsQuiescing",
    "WaitingRequests",
    "ExecutingRequests",
    "DispatchedRequests",
    "RejectedRequests",
    "TimedoutRequests",
    "CancelledRequests",
];

const QUEUES: &[&str] = &[
    "PriorityLevelName",
    "Index",
    "PendingRequests",
    "ExecutingRequests",
    "SeatsInUse",
    "NextDispatchR",
    "InitialSeatsSum",
    "MaxSeatsSum",
    "TotalWorkSum",
];

/// "Distingsher" is how upstream spells it.
const REQUESTS: &[&str] = &[
    "PriorityLevelName",
    "FlowSchemaName",
    "QueueIndex",
    "RequestIndexInQueue",
    "FlowDistingsher",
    "ArriveTime",
    "InitialSeats",
    "FinalSeats",
    "AdditionalLatency",
    "StartTime",
];

const DETAILS: &[&str] = &["UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource"];

/// A request that has no seat yet has not started: Go's zero time.
const NOT_STARTED: &str = "0001-01-01T00:00:00Z";

type Row = Vec<String>;

/// The dump at a path, if it is one's.
pub(super) fn of(path: &str, query: &Query, seats: &Seats) -> Option<String> {
    let rows = match path.strip_prefix("/debug/api_priority_and_fairness/")? {
        "dump_priority_levels" => levels(seats),
        "dump_queues" => queues(seats),
        "dump_requests" => requests(seats, !query.text("includeRequestDetails").is_empty()),
        _ => return None,
    };
    Some(align(&rows))
}

fn head(columns: &[&str]) -> Row {
    columns.iter().map(|c| (*c).to_owned()).collect()
}

fn levels(seats: &Seats) -> Vec<Row> {
    let row = |(name, desk): (&str, &super::seats::Desk)| {
        let set = &desk.queues;
        let numbers = [set.waiting() as u64, set.running.len() as u64];
        let counts = [set.counts.dispatched, set.counts.rejected, set.counts.timed_out, set.counts.cancelled];
        let active = set.queues.iter().filter(|q| !q.waiting.is_empty()).count();
        let mut row = vec![name.to_owned(), active.to_string(), set.is_idle().to_string(), desk.closing.to_string()];
        row.extend(numbers.iter().chain(&counts).map(u64::to_string));
        row
    };
    [head(LEVELS)].into_iter().chain(seats.desks().map(row)).collect()
}

fn queues(seats: &Seats) -> Vec<Row> {
    let mut rows = vec![head(QUEUES)];
    for (name, desk) in seats.desks() {
        rows.extend(desk.queues.queues.iter().enumerate().map(|(index, queue)| {
            let seats_waiting = queue.seats_waiting().to_string();
            vec![
                name.to_owned(),
                index.to_string(),
                queue.waiting.len().to_string(),
                queue.executing.to_string(),
                queue.seats.to_string(),
                queue.next_dispatch.to_string(),
                seats_waiting.clone(),
                seats_waiting,
                queue.work_waiting().to_string(),
            ]
        }));
    }
    rows
}

fn requests(seats: &Seats, details: bool) -> Vec<Row> {
    let mut rows = vec![head(REQUESTS)];
    if details {
        rows[0].extend(head(DETAILS));
    }
    for (name, desk) in seats.desks() {
        let set = &desk.queues;
        let mut row = |queue: Option<usize>, index: Option<usize>, request: &Request, started: String| {
            rows.push(of_request(name, set, [queue, index], request, started, details));
        };
        let executing = |of: Option<usize>| set.running.values().filter(move |r: &&Running| r.queue == of);
        for (at, queue) in set.queues.iter().enumerate() {
            for (index, waiting) in queue.waiting.iter().enumerate() {
                row(Some(at), Some(index), &waiting.request, NOT_STARTED.to_owned());
            }
            executing(Some(at)).for_each(|r| row(Some(at), None, &r.request, r.started.to_string()));
        }
        executing(None).for_each(|r| row(None, None, &r.request, r.started.to_string()));
    }
    rows
}

fn of_request(
    level: &str,
    set: &QueueSet,
    places: [Option<usize>; 2],
    request: &Request,
    started: String,
    details: bool,
) -> Row {
    let Request { schema, user, info, width, arrived } = request;
    let [queue, index] = places.map(|place| place.map_or_else(|| "-1".to_owned(), |n| n.to_string()));
    let flow = if set.has_flows() { schema.flow(info, user) } else { "" };
    let mut row = vec![level.to_owned(), schema.name.clone(), queue, index, flow.to_owned(), arrived.to_string()];
    // No request keeps seats after it has ended.
    row.extend([width.to_string(), "0".to_owned(), "0s".to_owned(), started]);
    if details {
        let version = match info.group.as_str() {
            "" => info.version.clone(),
            group => format!("{group}/{}", info.version),
        };
        row.extend([user, &info.verb, &info.path, &info.namespace, &info.name].map(String::clone));
        row.extend([version, info.resource.clone(), info.subresource.clone()]);
    }
    row
}

/// Columns are as wide as their widest cell with its comma and a space, at least eight.
fn align(rows: &[Row]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count() + 2).max().unwrap_or_default().max(8);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(&widths).take(columns.saturating_sub(1)) {
            out.push_str(&format!("{:width$}", format!("{cell},")));
        }
        out.extend(row.last().map(String::as_str));
        out.push('\n');
    }
    out
}
