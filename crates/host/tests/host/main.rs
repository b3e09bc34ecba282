//! Tests of the crate as its users see it, on the real file system of the machine.

mod bare;
mod reading;
mod round_trip;
mod rules;
mod stream;
mod support;
mod system;
mod target;
mod unprivileged;
mod walk;
