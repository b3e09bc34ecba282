//! Feeds `fuzz::gc`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::gc(data));
