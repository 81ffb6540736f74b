//! EventRateLimit: no part of the cluster floods the server with events.

use std::collections::BTreeMap;

use apiserver::{
    admission::{Attributes, Operation, Plugin},
    error::{Error, Result},
    meta,
};
use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

use super::configuration::EventLimit;

/// Tokens, and when they were counted.
type Bucket = (f64, Instant);

pub(super) struct EventRateLimit {
    limits: Vec<(EventLimit, Mutex<BTreeMap<String, Bucket>>)>,
}

impl EventRateLimit {
    pub(super) fn new(limits: Vec<EventLimit>) -> Self {
        EventRateLimit { limits: limits.into_iter().map(|limit| (limit, Mutex::default())).collect() }
    }
}

/// Who shares a limit.
fn key(kind: &str, attributes: &Attributes<'_>, event: &Value) -> String {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    match kind {
        "Namespace" => attributes.namespace.to_owned(),
        "User" => attributes.user.name.clone(),
        "SourceAndObject" => {
            let object = if event["involvedObject"].is_object() { "/involvedObject" } else { "/regarding" };
            let part = |name: &str| text(&format!("{object}/{name}")).to_owned();
            let source = [text("/source/component"), text("/source/host"), text("/reportingController")].concat();
            [source, part("kind"), part("namespace"), part("name"), part("uid"), part("apiVersion")].concat()
        }
        _ => String::new(),
    }
}

/// Takes a token, if there is one.
fn take(bucket: &mut Bucket, limit: &EventLimit, now: Instant) -> bool {
    let (tokens, since) = *bucket;
    let grown = tokens + now.duration_since(since).as_secs_f64() * f64::from(limit.qps);
    let tokens = grown.min(f64::from(limit.burst));
    let granted = tokens >= 1.0;
    *bucket = (if granted { tokens - 1.0 } else { tokens }, now);
    granted
}

#[async_trait]
impl Plugin for EventRateLimit {
    fn name(&self) -> &'static str {
        "EventRateLimit"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
        let events = attributes.is("", "events") || attributes.is("events.k8s.io", "events");
        writes && events && !attributes.dry_run
    }

    async fn validate(&self, attributes: &Attributes<'_>, event: &Value) -> Result<()> {
        let now = Instant::now();
        let mut refused = Vec::new();
        for (limit, buckets) in &self.limits {
            let key = key(&limit.kind, attributes, event);
            let mut buckets = buckets.lock();
            if buckets.len() >= limit.cache_size && !buckets.contains_key(&key) {
                // The one that was not used for longest has filled up again.
                let oldest = buckets.iter().min_by_key(|(_, (_, since))| *since).map(|(key, _)| key.clone());
                oldest.map(|key| buckets.remove(&key));
            }
            let bucket = buckets.entry(key.clone()).or_insert((f64::from(limit.burst), now));
            if !take(bucket, limit, now) {
                refused.push(format!("limit reached on type {} for key {key}", limit.kind));
            }
        }
        if refused.is_empty() {
            return Ok(());
        }
        tracing::debug!(event = meta::name(event), "event over the limit");
        Err(Error::too_many_requests(refused.join(", "), 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tokens_come_back() {
        let limit = EventLimit { kind: "Server".to_owned(), qps: 1, burst: 2, cache_size: 1 };
        let start = Instant::now();
        let mut bucket = (2.0, start);
        assert!(take(&mut bucket, &limit, start) && take(&mut bucket, &limit, start));
        assert!(!take(&mut bucket, &limit, start));
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        assert!(take(&mut bucket, &limit, Instant::now()));
    }
}
