//! Feeds `fuzz::pending`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::pending(data));
