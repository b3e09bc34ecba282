//! Feeds `fuzz::xattrs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::xattrs(data));
