//! Feeds `fuzz::inputs::kept`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::inputs::kept(data));
