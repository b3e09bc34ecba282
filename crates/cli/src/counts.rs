//! Counted things in words; see `service::counts`.

pub(crate) use service::counts::{count, counted};
