//! Feeds `fuzz::formats::pending`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::formats::pending(data));
