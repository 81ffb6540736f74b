//! Bodies in protobuf: no panic, no unbounded memory, and what is decoded is written in a form that decodes to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((schema, body)) = fuzz::schema_and_body(input) else { return };
    let _ = api_types::protobuf::decode_object(body, &schema);
    let Ok(value) = api_types::protobuf::decode_message(body, &schema) else { return };
    let bytes = api_types::protobuf::encode_message(&value, &schema);
    let again = api_types::protobuf::decode_message(&bytes, &schema).expect("our own protobuf decodes");
    assert_eq!(again, value);
    // What comes in as protobuf goes out as JSON.
    let text = api_types::json::to_vec(&value, &schema);
    api_types::json::decode(&text, &schema).expect("our own JSON decodes");
});
