//! How a run ends; see `service::failure`.

pub(crate) use service::failure::{Exit, Failure, Outcome, local};
