//! Hooks as the stored configurations describe them; made anew when one of those changed.

use std::{sync::Arc, time::Duration};

use api_semantics::cel::{Admission, Results, compile};
use apiserver::error::Result;
use parking_lot::Mutex;
use serde_json::Value;

use crate::{
    admission::policy::{Compiled, Match, Versions, refresh},
    cell::CoreCell,
    webhook_client::{Client, ReviewVersion as Version},
};

/// One webhook.
pub(super) struct Hook {
    /// Unique among the hooks of its plugin.
    pub(super) key: String,
    pub(super) name: String,
    pub(super) matches: Match,
    pub(super) conditions: Vec<Compiled>,
    /// `failurePolicy: Ignore`.
    pub(super) ignores_failures: bool,
    pub(super) allows_dry_run: bool,
    pub(super) timeout: Duration,
    /// The first version of reviews that it names and that this server speaks.
    pub(super) version: Option<Version>,
    /// `reinvocationPolicy: IfNeeded`.
    pub(super) reinvoked: bool,
    /// The way to it, or why there is none.
    pub(super) client: std::result::Result<Client, String>,
}

impl Hook {
    fn new(configuration: &str, index: usize, hook: &Value, cell: &CoreCell, to_endpoints: bool) -> Hook {
        let name = hook["name"].as_str().unwrap_or_default().to_owned();
        let environment = Admission { params: false, authorizer: true, mutates: false }.environment();
        let condition = |condition: &Value| {
            let source = condition["expression"].as_str().unwrap_or_default().trim();
            compile(source, &environment, &Results::truth()).map_err(|e| format!("compilation error: {e}"))
        };
        let list = |name: &str| hook[name].as_array().into_iter().flatten();
        Hook {
            key: format!("{configuration}/{name}/{index}"),
            matches: Match::of_webhook(hook),
            conditions: list("matchConditions").map(condition).collect(),
            ignores_failures: hook["failurePolicy"] == "Ignore",
            allows_dry_run: matches!(hook["sideEffects"].as_str(), Some("None" | "NoneOnDryRun")),
            timeout: Duration::from_secs(hook["timeoutSeconds"].as_u64().unwrap_or(10)),
            version: list("admissionReviewVersions").filter_map(Value::as_str).find_map(Version::of),
            reinvoked: hook["reinvocationPolicy"] == "IfNeeded",
            client: Client::new(&hook["clientConfig"], cell, to_endpoints),
            name,
        }
    }
}

/// The hooks of one plugin.
pub(super) struct Hooks {
    cell: CoreCell,
    configurations: &'static str,
    to_endpoints: bool,
    known: Mutex<Versions<Vec<Arc<Hook>>>>,
}

impl Hooks {
    pub(super) fn new(cell: CoreCell, configurations: &'static str, to_endpoints: bool) -> Hooks {
        Hooks { cell, configurations, to_endpoints, known: Mutex::default() }
    }

    /// All hooks, by the names of their configurations. As fresh as the cache of the server.
    pub(super) fn all(&self) -> Result<Vec<Arc<Hook>>> {
        let make = |configuration: &Value| {
            let name = apiserver::meta::name(configuration);
            let hooks = configuration["webhooks"].as_array().into_iter().flatten().enumerate();
            hooks.map(|(n, hook)| Arc::new(Hook::new(name, n, hook, &self.cell, self.to_endpoints))).collect()
        };
        let mut known = self.known.lock();
        refresh(&self.cell, self.configurations, &mut known, make)?;
        Ok(known.values().flat_map(|(_, hooks)| hooks.iter().map(Arc::clone)).collect())
    }
}
