//! Randomness that a test can seed per thread; otherwise from the operating system. Not for keys and secrets.

use std::cell::RefCell;

use rand::{RngExt, SeedableRng, rngs::StdRng};

thread_local! {
    static RNG: RefCell<StdRng> = RefCell::new(rand::make_rng());
}

/// Characters that API names get as random suffix: no vowels, so that no words come up.
const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// From here on this thread's numbers follow from `seed`.
pub fn seed_thread(seed: u64) {
    RNG.set(StdRng::seed_from_u64(seed));
}

/// Fills `bytes`.
pub fn fill(bytes: &mut [u8]) {
    RNG.with_borrow_mut(|r| r.fill(bytes));
}

/// A number of `range`, which must not be empty.
pub fn range(range: std::ops::Range<u64>) -> u64 {
    RNG.with_borrow_mut(|r| r.random_range(range))
}

/// A number in [0, 1), for jitter.
pub fn fraction() -> f64 {
    RNG.with_borrow_mut(|r| r.random::<f64>())
}

/// `length` characters for the end of a generated name.
pub fn suffix(length: usize) -> String {
    let pick = |_| char::from(SUFFIX_ALPHABET[range(0..SUFFIX_ALPHABET.len() as u64) as usize]);
    (0..length).map(pick).collect()
}

/// A random (version 4) UUID in its usual text form.
pub fn uuid() -> String {
    let mut b = [0u8; 16];
    fill(&mut b);
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    let hex: String = b.iter().map(|x| format!("{x:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats() {
        let draw = || (seed_thread(7), uuid(), suffix(5)).1;
        assert_eq!(draw(), draw());
        assert_eq!(draw().len(), 36);
    }
}
