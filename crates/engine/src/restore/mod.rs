//! Bringing a snapshot, or part of it, back onto a machine.

use crate::monitor::Monitor;
use host::Rules;
use repo::reader::Reader;
use repo::workers::Workers;
use repo::{RepoError, RepoResult};
use format::snapshot::Snapshot;
use std::path::PathBuf;
use std::sync::Arc;

/// When an existing file may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// Always; only what differs is written.
    Always,
    /// Only when length or modification time differ.
    IfChanged,
    /// Only when the snapshot's is newer.
    IfNewer,
    /// Never.
    Never,
}

/// What to restore, and how.
pub struct RestoreRequest<'a> {
    /// The snapshot.
    pub snapshot: &'a Snapshot,
    /// The path inside the snapshot (components, volume first) whose *contents* go into the target; empty
    /// for everything, with absolute paths recreated below the target.
    pub path: Vec<Vec<u8>>,
    /// The folder to restore into.
    pub target: PathBuf,
    /// Only paths these rules do not exclude.
    pub rules: Arc<Rules>,
    /// When an existing file may be replaced.
    pub overwrite: Overwrite,
    /// Remove what is in restored folders but not in the snapshot.
    pub delete: bool,
    /// Tell what would be done; write nothing.
    pub dry_run: bool,
    /// Read every restored file back and compare it with the snapshot.
    pub verify: bool,
    /// Make everything durable before saying done.
    pub sync: bool,
    /// Restore owners by number instead of by name.
    pub numeric_ids: bool,
    /// Threads that decode and write.
    pub workers: Workers,
}

/// What a restore did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreOutcome {
    /// Files written, wholly or in part.
    pub files_restored: u64,
    /// Files that were right already.
    pub files_unchanged: u64,
    /// Files left alone because of the overwrite rule.
    pub files_skipped: u64,
    /// Folders, links, devices, pipes and sockets made or given their attributes.
    pub others_restored: u64,
    /// Paths removed from the target.
    pub deleted: u64,
    /// Bytes of the selected files.
    pub bytes_selected: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Bytes fetched from the repository.
    pub bytes_fetched: u64,
    /// Files read back and found equal.
    pub files_verified: u64,
    /// Paths that could not be restored completely; each was told to the monitor.
    pub problems: u64,
    /// Of these, paths whose contents are damaged or missing in the repository.
    pub damaged: u64,
}

/// Restores. Selecting nothing is an error.
pub fn restore(
    reader: &Arc<Reader>,
    request: &RestoreRequest<'_>,
    monitor: &dyn Monitor,
) -> RepoResult<RestoreOutcome> {
    let _ = (reader, request, monitor);
    Err(RepoError::Local("restore is being built".into()))
}
