//! Bodies in YAML: no panic, and what is decoded is written in a form that decodes to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((schema, body)) = fuzz::schema_and_body(input) else { return };
    let _ = api_types::yaml::duplicate_keys(body);
    let Ok(decoded) = api_types::yaml::decode(body, &schema) else { return };
    let mut text = Vec::new();
    api_types::yaml::encode(&decoded.value, &mut text);
    let again = api_types::yaml::decode(&text, &schema).expect("our own YAML decodes");
    assert_eq!(again.value, decoded.value);
});
