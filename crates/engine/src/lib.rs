//! The operations: what happens between a machine and its repositories.
//!
//! [`backup`] reads a source once and publishes a snapshot; [`restore`] brings a snapshot, or part of it,
//! back onto a machine. Both are plain functions over a request. They print nothing, read no configuration,
//! no environment and no clock: time, randomness and the number of threads enter as values, and everything
//! worth telling goes to a [`Monitor`].

pub mod backup;
pub mod monitor;
pub mod restore;

pub use backup::{BackupOutcome, BackupRequest, Source, backup};
pub use monitor::{Action, Monitor, Note, Phase, Progress, Severity, Silent};
pub use restore::{Overwrite, RestoreOutcome, RestoreRequest, restore};
