//! Feeds `fuzz::formats::leaf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::formats::leaf(data));
