//! Feeds `fuzz::inputs::sshconfig`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::inputs::sshconfig(data));
