//! Bytes and their meaning: the lifeboat repository format, pure.
//!
//! No I/O, no clock, no randomness, no threads. `docs/format.md` decides; this crate follows it.

pub mod kind;
