//! Reading a source once and publishing a snapshot of it.

mod checkpoints;
mod copies;
mod dry;
mod entries;
pub(crate) mod large;
mod live;
mod own_place;
mod pace;
mod parent;
mod pass;
mod read_ahead;
mod reading;
mod signs;
mod tell;

use crate::memory::MemoryBudget;
use crate::monitor::{Monitor, Note, Phase, Severity};
use copies::Copies;
pub use copies::CopyState;
pub(crate) use entries::link_group_of;
use format::codec::Level;
use format::id::{SnapshotId, WriterId};
use format::kind::Timestamp;
use format::snapshot::{Completeness, Mode, Snapshot, Stats};
use host::produce::Producer;
use host::{Rules, WalkOptions};
pub use live::compare_live;
use pass::{Pass, Passed};
use repo::cache::Cache;
use repo::reader::Reader;
use repo::seed::Seed;
use repo::workers::Workers;
use repo::writer::publish::Published;
use repo::writer::{Writer, WriterOptions, Written};
use repo::{RepoError, RepoResult};
pub use signs::Signs;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use tell::Teller;

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
    /// Files that are made while they are read (dumps, images, the state of a system), in the volume
    /// `stream:NAME`, and files of this machine beside them. An error of the producer means that nothing is
    /// committed.
    Produced {
        /// The name of the source.
        name: String,
        /// Makes the files.
        producer: Box<dyn Producer>,
        /// Absolute paths that are kept in the same snapshot; may be empty.
        paths: Vec<PathBuf>,
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
    /// Threads that read files, at first.
    pub read_workers: Workers,
    /// Up to so many while reading is what the run waits for; the number stays as it is where this is not more.
    pub read_workers_max: usize,
    /// Threads that compress and seal.
    pub seal_workers: Workers,
    /// Threads that finish uploads, as far as memory allows.
    pub upload_workers: Workers,
    /// What the run may hold.
    pub memory: MemoryBudget,
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
    /// What new contents look like.
    pub signs: Signs,
    /// What became of it in each repository, in the order in which they were given.
    pub copies: Vec<CopyState>,
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

/// What an ended-early run says; the program turns it into its exit code.
pub const CANCELLED: &str = "cancelled";

/// How often a run starts over when packs it relied on were removed meanwhile.
const ATTEMPTS_MAX: usize = 4;

/// Backs up.
///
/// Nothing is visible before the last step; a run that fails or is killed leaves stored blobs behind that
/// the next run finds.
pub fn backup(
    reader: &Arc<Reader>,
    request: BackupRequest,
    monitor: &dyn Monitor,
) -> RepoResult<BackupOutcome> {
    backup_to(std::slice::from_ref(reader), request, monitor)
}

/// Backs up into several repositories of one family at once: what is read, cut, compressed and sealed is so
/// once, and each commits by itself. The first one leads: parents are looked up there. One that fails, or for
/// which the others stand idle, is left behind, and completed from another if it can be reached again; the run
/// succeeds if one repository has the snapshot. What older snapshots a repository lacks that the others got since
/// it was last there is brought to it, too.
pub fn backup_to(
    readers: &[Arc<Reader>],
    mut request: BackupRequest,
    monitor: &dyn Monitor,
) -> RepoResult<BackupOutcome> {
    let (files, bytes) = estimate(request.parent.as_ref());
    let sources = request.source.names();
    for path in own_place::leave_out(readers, &mut request) {
        let (item, text) =
            (path.into_os_string().into_encoded_bytes(), "the repository itself is left out".into());
        monitor.note(&Note { severity: Severity::Info, item, during: "walk", text, errno: 0 });
    }
    let readers = if request.dry_run { vec![dry_reader(&readers[0])?] } else { readers.to_vec() };
    let mut copies = Copies::new(&readers)?;
    for attempt in 1.. {
        let seed = Seed::new(request.seed.draw());
        let options = WriterOptions {
            seal_workers: request.seal_workers,
            upload_workers: upload_workers(&readers, &request),
            level: request.level,
            ..WriterOptions::default()
        };
        let listed = copies.list()?;
        let reader = listed[0].0.clone();
        let mut writer = Writer::start_many(&listed, seed, request.time, options);
        writer.pace_checkpoints(checkpoints::pace(request.clock.clone()));
        drop(listed); // of a large repository they are large
        let mut teller = Teller::new(monitor, files, bytes);
        let passed = Pass::new(&reader, &mut writer, &mut request, &mut teller)?.run();
        if monitor.cancelled() {
            writer.leave()?;
            return Err(RepoError::Local(CANCELLED.into()));
        }
        let passed = passed?;
        let unchanged = request.skip_if_unchanged && !passed.changed;
        if request.dry_run || unchanged {
            writer.flush()?;
            // A checkpoint on the way may have left a pending record, which nothing would ever replace.
            writer.abandon()?;
            return Ok(outcome(None, passed, [0; 32], &writer));
        }
        Teller::new(monitor, files, bytes).enter(Phase::Publish);
        if let Some(mut done) = publish(&mut writer, &request, &sources, passed)? {
            copies.take(writer.behind());
            let seed = Seed::new(request.seed.draw());
            done.copies = copies.complete(done.snapshot.as_ref(), request.time, &options, seed, monitor);
            return Ok(done);
        }
        writer.abandon()?;
        // What the parent's tree relied on is gone: read everything again, trusting nothing.
        request.parent = None;
        if attempt == ATTEMPTS_MAX || matches!(request.source, Source::Stream { .. }) {
            return Err(RepoError::Overtaken);
        }
    }
    unreachable!("the last attempt returns")
}

/// None stays none: then everything happens on one thread. Several repositories share what there is.
fn upload_workers(readers: &[Arc<Reader>], request: &BackupRequest) -> Workers {
    let (repo, wanted) = (readers[0].repo(), request.upload_workers);
    let several = readers.len() > 1;
    match wanted.0 {
        0 => wanted,
        n => {
            let is_local = repo.store().capabilities().local && !several;
            let uploads = request.memory.uploads(repo.parameters().pack_bytes, is_local, n);
            Workers((uploads.0 / readers.len()).max(1))
        }
    }
}

/// Files and bytes to expect, from the parent.
fn estimate(parent: Option<&Snapshot>) -> (u64, u64) {
    parent.map_or((0, 0), |p| {
        let s = &p.stats;
        let files = s.files_new + s.files_changed + s.files_unmodified;
        (files + s.dirs_new + s.dirs_changed + s.dirs_unmodified + s.others, s.source_bytes)
    })
}

/// A reader whose repository swallows writes.
fn dry_reader(reader: &Arc<Reader>) -> RepoResult<Arc<Reader>> {
    let store = Arc::new(dry::DryStore(reader.repo().store().clone()));
    let repo = Arc::new(reader.repo().with_store(store));
    Ok(Arc::new(Reader::open(repo, Cache::none())?))
}

/// `None` when something the tree relies on is gone.
fn publish(
    writer: &mut Writer,
    request: &BackupRequest,
    sources: &[Vec<u8>],
    passed: Passed,
) -> RepoResult<Option<BackupOutcome>> {
    let parent = request.parent.as_ref().filter(|_| passed.inherited).map(|p| p.id);
    let thorough = request.mode == Mode::Full;
    if !writer.prepare(passed.root, parent.as_ref(), thorough)? {
        return Ok(None);
    }
    let snapshot = record(writer, request, sources, &passed);
    match writer.commit(&snapshot)? {
        Published::Done { record_hash } => Ok(Some(outcome(Some(snapshot), passed, record_hash, writer))),
        Published::Overtaken => Ok(None),
    }
}

fn record(writer: &Writer, request: &BackupRequest, sources: &[Vec<u8>], passed: &Passed) -> Snapshot {
    let complete = passed.stats.faults == 0;
    let (sequence, previous) = request.previous.map_or((1, [0; 32]), |(n, hash)| (n + 1, hash));
    let parent = request.parent.as_ref().map(|p| p.id);
    Snapshot {
        id: writer.session(),
        writer: request.writer,
        sequence,
        previous,
        root: passed.root,
        time: request.time,
        end: (request.clock)(),
        host: request.host.clone(),
        user: request.user.clone(),
        sources: sources.to_vec(),
        tags: request.tags.clone(),
        mode: request.mode,
        base: request.base.or(parent),
        parent: parent.filter(|_| request.mode != Mode::Full),
        completeness: if complete { Completeness::Complete } else { Completeness::Partial },
        stats: with_written(passed.stats, writer.written()),
        program: request.program.clone(),
        excludes: request.excludes.clone(),
        mounts: passed.mounts.clone(),
        description: request.description.clone(),
    }
}

fn with_written(mut stats: Stats, written: Written) -> Stats {
    stats.added_bytes = written.added_bytes;
    stats.stored_bytes = written.stored_bytes;
    stats
}

fn outcome(
    snapshot: Option<Snapshot>,
    passed: Passed,
    record_hash: [u8; 32],
    writer: &Writer,
) -> BackupOutcome {
    let written = writer.written();
    let stats = with_written(passed.stats, written);
    let (signs, copies) = (passed.signs, Vec::new());
    BackupOutcome { snapshot, stats, record_hash, written, missing_sources: passed.missing, signs, copies }
}

impl Source {
    /// The sources as the record names them.
    pub fn names(&self) -> Vec<Vec<u8>> {
        match self {
            Source::Paths(paths) => paths.iter().map(|p| p.as_os_str().as_encoded_bytes().to_vec()).collect(),
            Source::Stream { name, .. } => vec![format!("stream:{name}").into_bytes()],
            Source::Produced { name, paths, .. } => paths
                .iter()
                .map(|p| p.as_os_str().as_encoded_bytes().to_vec())
                .chain([format!("stream:{name}").into_bytes()])
                .collect(),
        }
    }
}
