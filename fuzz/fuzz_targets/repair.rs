//! Feeds `fuzz::repair`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::repair(data));
