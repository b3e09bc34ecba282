//! Tests of the crate as its users see it, on the real file system of the machine.

mod round_trip;
mod rules;
mod stream;
mod support;
mod target;
mod walk;
