//! Server-side apply: a configuration (YAML, the second part) onto an object (JSON with managed fields, the first part).
#![no_main]

use api_semantics::apply::{self, FieldSet};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((schema, body)) = fuzz::schema_and_body(input) else { return };
    let Some([live, applied]) = fuzz::parts(body) else { return };
    let Ok(applied) = api_types::yaml::parse(applied) else { return };
    let applied = applied.to_value();
    let live = fuzz::object(live, &schema);
    let resets = FieldSet::default();
    let write = apply::Write {
        manager: "fuzz",
        api_version: "v1",
        subresource: "",
        resets: &resets,
        now: jiff::Timestamp::UNIX_EPOCH,
    };
    for force in [false, true] {
        let request = apply::Request { schema: &schema, live: live.as_ref(), applied: &applied, force };
        let Ok(mut merged) = apply::apply(request, &write) else { continue };
        apply::track_update(&schema, live.as_ref(), &mut merged, &write);
    }
});
