//! Feeds `fuzz::formats::snapshot`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::formats::snapshot(data));
