//! Bodies in JSON: no panic, and what is decoded is written in a form that decodes to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((schema, body)) = fuzz::schema_and_body(input) else { return };
    let Ok(decoded) = api_types::json::decode(body, &schema) else { return };
    let text = api_types::json::to_vec(&decoded.value, &schema);
    let again = api_types::json::decode(&text, &schema).expect("our own JSON decodes");
    assert_eq!(again.value, decoded.value);
    assert_eq!(again.strict_error(), None);
});
