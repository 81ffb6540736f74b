//! Quantities: the canonical form stands for the same amount, and is its own canonical form.
#![no_main]

use api_types::Quantity;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let Ok(quantity) = input.parse::<Quantity>() else { return };
    let text = quantity.to_string();
    let again: Quantity = text.parse().expect("our own text parses");
    assert_eq!(again.to_string(), text);
});
