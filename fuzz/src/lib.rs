//! What the fuzzer feeds: decoders of the format, and other inputs from outside.
//!
//! Tests replay the kept corpora through the same functions, on a stable toolchain: those of [`formats`] in crate
//! `format`, which knows nothing above itself, those of [`inputs`] in crate `service`.

pub mod formats;
pub mod inputs;
