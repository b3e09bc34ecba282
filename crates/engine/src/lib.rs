//! The operations: what happens between a machine and its repositories.
//!
//! [`backup`] reads a source once and publishes a snapshot; [`restore`] brings a snapshot, or part of it,
//! back onto a machine; [`retention`] decides which snapshots a policy keeps. All are plain functions over a
//! request. They print nothing, read no configuration, no environment and no clock: time, randomness and the
//! number of threads enter as values, and everything worth telling goes to a [`Monitor`].

pub mod backup;
pub mod contents;
pub mod copy;
pub mod heal;
pub mod memory;
pub mod monitor;
pub mod restore;
pub mod retention;

pub use backup::{BackupOutcome, BackupRequest, CopyState, Source, backup, backup_to, compare_live};
pub use heal::HealFrom;
pub use memory::MemoryBudget;
pub use monitor::{Action, Monitor, Note, Phase, Progress, Severity, Silent};
pub use restore::{
    KeyRanges, LeftOut, Overwrite, RestoreOutcome, RestoreRequest, packs_needed, restore, restore_ranges,
};
