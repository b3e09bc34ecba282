//! Feeds `fuzz::inputs::knownhosts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::inputs::knownhosts(data));
