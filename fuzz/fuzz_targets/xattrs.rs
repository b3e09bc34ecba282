//! Feeds `fuzz::formats::xattrs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::formats::xattrs(data));
