//! Feeds `fuzz::formats::keep`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::formats::keep(data));
