//! Feeds `fuzz::inputs::schedule`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::inputs::schedule(data));
