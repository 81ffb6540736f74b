//! CEL expressions of definitions and policies: compiled against a small environment, and evaluated within the cost limit.
#![no_main]

use kube_cel::{Environment, Expression, Type, Value};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|input: &str| {
    let environment = Environment::default().variable("self", Type::Dyn).variable("object", Type::Dyn);
    let Ok(expression) = Expression::compile(input, &environment) else { return };
    let object = Value::from_json(&json!({"name": "n", "replicas": 3, "list": [1, 2], "map": {"a": "b"}}));
    let (_, cost) = expression.evaluate([("self", object.clone()), ("object", object)].as_slice());
    // One step past the limit may be large, the next one is not taken.
    assert!(cost < kube_cel::PER_CALL_LIMIT * 1_000, "{cost}");
});
