//! Feeds `fuzz::formats::records`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::formats::records(data));
