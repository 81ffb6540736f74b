//! Makes the sources of randomness that programs can't be given from outside repeatable: the hash seeds of the standard
//! library, the order in which `tokio::select!` looks at its branches, key generation of libraries. All of them come from
//! the C library's `getrandom`, which is replaced here: threads of a simulation get numbers that follow from its seed, all
//! others get the kernel's.

use std::{cell::Cell, fs::File, io::Read};

thread_local! {
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From here on this thread's entropy follows from `seed`.
pub(crate) fn seed_thread(seed: u64) {
    STATE.set(Some(seed));
}

/// The next number of the SplitMix64 sequence.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn fill(buffer: &mut [u8]) -> std::io::Result<()> {
    // Gone while the thread ends: whoever asks then gets the kernel's numbers.
    let Some(mut state) = STATE.try_with(Cell::get).ok().flatten() else {
        return File::open("/dev/urandom")?.read_exact(buffer);
    };
    for chunk in buffer.chunks_mut(8) {
        chunk.copy_from_slice(&next(&mut state).to_le_bytes()[..chunk.len()]);
    }
    STATE.set(Some(state));
    Ok(())
}

/// Stands in for the C library's function of this name, for everything that is linked into the same program.
///
/// # Safety
/// As of the original: `buffer` is writable for `length` bytes.
#[allow(unsafe_code, unreachable_pub, reason = "the signature and the reach are the C library's")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    if buffer.is_null() || length == 0 {
        return 0;
    }
    // SAFETY: the caller promises that `length` bytes from `buffer` on can be written, and holds no other reference.
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer, length) };
    match fill(buffer) {
        Ok(()) => isize::try_from(length).unwrap_or(isize::MAX),
        Err(_) => -1,
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    #[test]
    fn hash_seeds_follow_from_the_seed() {
        let draw = |seed: u64| {
            let thread = std::thread::spawn(move || {
                super::seed_thread(seed);
                RandomState::new().hash_one("x")
            });
            thread.join().unwrap()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
