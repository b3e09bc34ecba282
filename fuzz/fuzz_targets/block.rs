//! Feeds `fuzz::formats::block`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::formats::block(data));
