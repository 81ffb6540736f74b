//! Conversion by webhook (`spec.conversion.strategy: Webhook`).

use std::{sync::LazyLock, time::Duration};

use api_types::json;
use apiserver::{
    conversion::Converter,
    error::{Error, Result},
    model::Format,
};
use async_trait::async_trait;
use component_base::metrics::register;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
};
use serde_json::Value;
use tokio::time::Instant;

use super::review::{self, Failure};
use crate::{
    cell::CoreCell,
    webhook_client::{Client, ReviewVersion as Version},
};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The webhook of one definition.
pub(super) struct Webhook {
    definition: String,
    /// The first version of reviews that it names and that this server speaks.
    version: Option<Version>,
    /// The way to it, or why there is none.
    client: std::result::Result<Client, String>,
}

impl Webhook {
    /// As a definition says. `to_endpoints`: services are reached at their endpoints, not at their address.
    pub(super) fn new(definition: &Value, cell: &CoreCell, to_endpoints: bool) -> Webhook {
        let webhook = &definition["spec"]["conversion"]["webhook"];
        let mut versions = webhook["conversionReviewVersions"].as_array().into_iter().flatten();
        Webhook {
            definition: apiserver::meta::name(definition).to_owned(),
            version: versions.find_map(|version| version.as_str().and_then(Version::of)),
            client: Client::new(&webhook["clientConfig"], cell, to_endpoints),
        }
    }

    async fn ask(&self, desired: &str, objects: &[Value]) -> std::result::Result<Vec<Value>, (Failure, String)> {
        let failed = |why: &str| (Failure::Call, format!(" failed: {why}"));
        let version = self.version.ok_or_else(|| failed("no supported conversion review versions"))?;
        let client = self.client.as_ref().map_err(|why| failed(why))?;
        let uid = component_base::rng::uuid();
        let question = review::question(version, &uid, desired, objects);
        let answer = client.call(&question, TIMEOUT).await.map_err(|none| failed(&none.why))?;
        review::read(&answer, version, &uid, desired, objects)
    }
}

#[async_trait]
impl Converter for Webhook {
    async fn convert(&self, to: &Format, objects: Vec<Value>) -> Result<Vec<Value>> {
        let Some(from) = objects.first().and_then(|o| o["apiVersion"].as_str()).map(str::to_owned) else {
            return Ok(Vec::new());
        };
        let desired = to.api_version();
        let began = Instant::now();
        let outcome = self.ask(&desired, &objects).await;
        record(
            &self.definition,
            [&from, &desired],
            began.elapsed(),
            outcome.as_ref().err().map(|(failure, _)| *failure),
        );
        // Upstream's clients get the error as it is, without a reason.
        let refused = |(_, why): (Failure, String)| {
            Error::new(500, "", format!("conversion webhook for {from}, Kind={}{why}", to.kind))
        };
        let shaped = |object: Value| Ok(json::decode_value(&object, &to.schema).map_err(Error::internal)?.value);
        outcome.map_err(refused)?.into_iter().map(shaped).collect()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Converted {
    crd_name: String,
    from_version: String,
    to_version: String,
    succeeded: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    result: &'static str,
    failure_type: &'static str,
}

struct Metrics {
    conversions: Family<Converted, Histogram, fn() -> Histogram>,
    durations: Family<Asked, Histogram, fn() -> Histogram>,
    requests: Family<Asked, Counter>,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    conversions: register(
        "apiserver_crd_conversion_webhook_duration_seconds",
        "Time that conversions of custom resources by webhook took",
        Family::new_with_constructor(|| {
            Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(0.001, 2.0, 15))
        }),
    ),
    durations: register(
        "apiserver_conversion_webhook_duration_seconds",
        "Time that conversion webhooks took to answer",
        Family::new_with_constructor(|| {
            Histogram::new([0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 45.0, 60.0])
        }),
    ),
    requests: register("apiserver_conversion_webhook_request", "Questions to conversion webhooks", Family::default()),
});

fn record(definition: &str, [from, to]: [&str; 2], took: Duration, failure: Option<Failure>) {
    let version = |of: &str| of.rsplit('/').next().unwrap_or_default().to_owned();
    let converted = Converted {
        crd_name: definition.to_owned(),
        from_version: version(from),
        to_version: version(to),
        succeeded: if failure.is_none() { "true" } else { "false" },
    };
    METRICS.conversions.get_or_create(&converted).observe(took.as_secs_f64());
    let failure_type = match failure {
        None => "",
        Some(Failure::Call) => "conversion_webhook_call_failure",
        Some(Failure::Partial) => "conversion_webhook_partial_response_failure",
        Some(Failure::Object) => "conversion_webhook_invalid_converted_object_failure",
    };
    let asked = Asked { result: if failure.is_none() { "success" } else { "failure" }, failure_type };
    METRICS.durations.get_or_create(&asked).observe(took.as_secs_f64());
    METRICS.requests.get_or_create(&asked).inc();
}
