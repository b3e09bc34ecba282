//! Reading a source once and publishing a snapshot of it.

use crate::monitor::Monitor;
use format::codec::Level;
use format::id::{SnapshotId, WriterId};
use format::kind::Timestamp;
use format::snapshot::{Mode, Snapshot};
use host::{Rules, WalkOptions};
use repo::reader::Reader;
use repo::seed::Seed;
use repo::workers::Workers;
use repo::writer::Written;
use repo::RepoResult;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

/// What to back up.
pub enum Source {
    /// Files and folders: absolute paths.
    Paths(Vec<PathBuf>),
    /// Bytes from elsewhere under a name. An error at the end means that nothing is committed.
    Stream {
        /// The name it gets in the snapshot.
        name: String,
        /// Its bytes; `read` returns 0 only after the producer ended well.
        reader: Box<dyn Read + Send>,
    },
}

/// Files to be cut into fixed chunks because programs write into their middle.
#[derive(Clone, Debug, Default)]
pub struct FixedChunkPolicy {
    /// Additional file name endings (without the dot), beside the built-in ones.
    pub extensions: Vec<String>,
    /// Never choose fixed chunks by ending or contents.
    pub never: bool,
}

/// What to back up, and how.
pub struct BackupRequest {
    /// What.
    pub source: Source,
    /// What is left out.
    pub rules: Arc<Rules>,
    /// The rules as the user wrote them, for the record.
    pub excludes: Vec<String>,
    /// How to walk.
    pub walk: WalkOptions,
    /// What is re-read.
    pub mode: Mode,
    /// The snapshot whose metadata is trusted, and with which the report compares; chosen by
    /// [`choose_parent`] unless the user named one.
    pub parent: Option<Snapshot>,
    /// The snapshot the report compares with where it is not the parent (full and differential runs).
    pub base: Option<SnapshotId>,
    /// Name of the machine.
    pub host: String,
    /// Name of the user.
    pub user: String,
    /// Free words.
    pub tags: Vec<String>,
    /// Free text.
    pub description: String,
    /// The snapshot's time; normally now.
    pub time: Timestamp,
    /// Tells the time when the run ends and paces checkpoints.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// This installation.
    pub writer: WriterId,
    /// Number and record hash of this installation's previous snapshot in the family.
    pub previous: Option<(u64, [u8; 32])>,
    /// Randomness.
    pub seed: Seed,
    /// Compression level.
    pub level: Level,
    /// Threads that read files.
    pub read_workers: Workers,
    /// Threads that compress and seal.
    pub seal_workers: Workers,
    /// Threads that finish uploads.
    pub upload_workers: Workers,
    /// Which files get fixed chunks.
    pub fixed_chunks: FixedChunkPolicy,
    /// Ignore inode and change time when comparing (network file systems with unstable ones).
    pub ignore_inode: bool,
    /// Read everything and report, but store nothing.
    pub dry_run: bool,
    /// Make no snapshot when nothing changed since the parent.
    pub skip_if_unchanged: bool,
    /// Version of the program, for the record.
    pub program: String,
}

/// What a backup did.
#[derive(Clone, Debug)]
pub struct BackupOutcome {
    /// The snapshot; `None` for a dry run, or when nothing changed and the request said to skip.
    pub snapshot: Option<Snapshot>,
    /// The sums, also of a dry run.
    pub stats: format::snapshot::Stats,
    /// BLAKE3 of the record, for the writer's next one.
    pub record_hash: [u8; 32],
    /// What was written.
    pub written: Written,
    /// Sources that do not exist: path and reason.
    pub missing_sources: Vec<(PathBuf, String)>,
}

/// The newest snapshot of the same host and sources that this mode may trust: any for an incremental run,
/// a full one for a differential run. A full run trusts none (and compares with the newest).
pub fn choose_parent<'a>(
    visible: impl DoubleEndedIterator<Item = &'a Snapshot>,
    host: &str,
    sources: &[Vec<u8>],
    mode: Mode,
) -> Option<&'a Snapshot> {
    let same_source = |s: &&Snapshot| s.host == host && s.sources == sources;
    visible.rev().filter(same_source).find(|s| mode != Mode::Differential || s.mode == Mode::Full)
}

/// Backs up.
pub fn backup(
    reader: &Arc<Reader>,
    request: BackupRequest,
    monitor: &dyn Monitor,
) -> RepoResult<BackupOutcome> {
    let _ = (reader, request, monitor);
    Err(repo::RepoError::Local("backup is being built".into()))
}
