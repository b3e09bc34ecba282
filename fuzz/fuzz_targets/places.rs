//! Feeds `fuzz::inputs::places`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::inputs::places(data));
