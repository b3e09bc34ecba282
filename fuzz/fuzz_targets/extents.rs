//! Feeds `fuzz::formats::extents`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::formats::extents(data));
