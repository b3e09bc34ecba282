//! Feeds `fuzz::inputs::patterns`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::inputs::patterns(data));
