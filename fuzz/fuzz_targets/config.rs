//! Feeds `fuzz::formats::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::formats::config(data));
