//! Feeds `fuzz::formats::directory`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::formats::directory(data));
