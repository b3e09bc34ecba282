//! Feeds `fuzz::inputs::words`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::inputs::words(data));
