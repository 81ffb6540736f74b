//! Ingress: HTTP routes from outside to services.

use serde_json::{Value, json};

use crate::defaults::{each, ensure, set, within};
use crate::kind::Kind;

pub(crate) static KIND: Kind =
    Kind { generation: true, initial_status: Some(|| json!({"loadBalancer": {}})), default, ..Kind::PLAIN };

fn default(ingress: &mut Value) {
    ensure(ensure(ingress, "status"), "loadBalancer");
    let spec = ensure(ingress, "spec");
    within(spec, "defaultBackend", backend);
    each(spec, "rules", |rule| {
        within(rule, "http", |http| {
            each(http, "paths", |path| backend(ensure(path, "backend")));
        });
    });
}

fn backend(backend: &mut Value) {
    within(backend, "service", |s| {
        ensure(s, "port");
    });
}
