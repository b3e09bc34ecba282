//! Feeds `fuzz::formats::slot`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::formats::slot(data));
