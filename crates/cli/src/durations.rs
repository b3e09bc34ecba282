//! Lengths of time; see `service::durations`.

pub(crate) use service::durations::{parse, shown};
