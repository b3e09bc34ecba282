//! Feeds `fuzz::inputs::amounts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::inputs::amounts(data));
