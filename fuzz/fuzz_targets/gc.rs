//! Feeds `fuzz::formats::gc`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::formats::gc(data));
