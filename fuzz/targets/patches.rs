//! The three patches: of an object (the first part) by a patch (the second), which the first byte chooses the schema of.
#![no_main]

use api_semantics::patch;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((schema, body)) = fuzz::schema_and_body(input) else { return };
    let Some([object, change]) = fuzz::parts(body) else { return };
    let Some(object) = fuzz::object(object, &schema) else { return };
    let patched = [
        patch::json_patch(&object, change),
        patch::merge_patch(&object, change),
        patch::strategic_merge(&object, change, &schema),
    ];
    for patched in patched.into_iter().flatten() {
        let _ = api_types::json::decode_value(&patched.value, &schema);
    }
});
