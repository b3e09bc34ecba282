//! A repository in a temporary folder of a real disk, with a source beside it, and the requests that tests make of
//! `engine`: one place to change when a request gets a field.

use crate::world::{create_in, credential};
use engine::{BackupRequest, MemoryBudget, Overwrite, RestoreRequest, Source};
use format::codec::Level;
use format::config::Parameters;
use format::id::WriterId;
use format::kind::Timestamp;
use format::snapshot::{Mode, Snapshot};
use repo::cache::Cache;
use repo::reader::Reader;
use repo::seed::Seed;
use repo::workers::Workers;
use repo::{OpenOptions, Repo};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::{LocalOptions, LocalStore, Store};

/// A temporary folder with a repository in `repo`, and an empty `source`.
pub struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// Makes both. Panics where the disk takes neither.
    pub fn new() -> Self {
        let disk = Disk { folder: tempfile::tempdir().expect("there is room for a temporary folder") };
        fs::create_dir(disk.source()).expect("it is new and empty");
        create_in(disk.store(), 5, Parameters::default()).expect("an empty folder takes a repository");
        disk
    }

    /// The temporary folder.
    pub fn top(&self) -> PathBuf {
        self.folder.path().canonicalize().expect("it stays while the world does")
    }

    /// What is backed up.
    pub fn source(&self) -> PathBuf {
        self.top().join("source")
    }

    /// The place.
    pub fn store(&self) -> Arc<dyn Store> {
        let options = LocalOptions { create_root: true, ..Default::default() };
        Arc::new(LocalStore::open(&self.top().join("repo"), &options).expect("the folder can be used"))
    }

    /// A reader of the place, or of what another store makes of it.
    pub fn reader(&self, store: Arc<dyn Store>, cache: Cache) -> Arc<Reader> {
        let repo = Repo::open(store, &credential(), &OpenOptions::default()).expect("the repository opens");
        Reader::open(Arc::new(repo), cache).map(Arc::new).expect("its index can be read")
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self::new()
    }
}

/// The time of a run: far in the future, because files that changed just now are too young to be trusted.
pub fn time_of(run: u64) -> Timestamp {
    Timestamp { secs: 4_000_000_000 + run as i64 * 100, nanos: 0 }
}

/// A full backup without a parent, on the calling thread alone.
pub fn backup_request(source: Source, time: Timestamp, seed: [u8; 32]) -> BackupRequest {
    BackupRequest {
        source,
        rules: Arc::default(),
        excludes: Vec::new(),
        walk: Default::default(),
        mode: Mode::Full,
        parent: None,
        base: None,
        host: "atlas".into(),
        user: "me".into(),
        tags: Vec::new(),
        description: String::new(),
        time,
        clock: Arc::new(move || time),
        writer: WriterId([7; 16]),
        previous: None,
        seed: Seed::new(seed),
        level: Level(1),
        read_workers: Workers(0),
        read_workers_max: 0,
        seal_workers: Workers(0),
        upload_workers: Workers(0),
        memory: MemoryBudget::default(),
        fixed_chunks: Default::default(),
        ignore_inode: false,
        dry_run: false,
        skip_if_unchanged: false,
        program: "test".into(),
    }
}

/// Everything below a path of a snapshot into a target, over whatever is there.
pub fn restore_request<'s>(
    snapshot: &'s Snapshot,
    path: Vec<Vec<u8>>,
    target: &Path,
    workers: Workers,
) -> RestoreRequest<'s> {
    RestoreRequest {
        snapshot,
        path,
        target: target.to_path_buf(),
        rules: Arc::default(),
        overwrite: Overwrite::Always,
        delete: false,
        kept: None,
        dry_run: false,
        verify: false,
        sync: false,
        numeric_ids: true,
        memory: MemoryBudget::default(),
        workers,
    }
}

/// A path as snapshots have it.
pub fn components(path: &Path) -> Vec<Vec<u8>> {
    path.iter().map(|name| name.as_encoded_bytes().to_vec()).collect()
}

/// Bytes that nothing compresses, the same for equal seeds.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

/// Everything about a folder and everything below it that users can see, one line a path, in order.
pub fn inventory(top: &Path) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut paths = vec![top.to_path_buf()];
    while let Some(path) = paths.pop() {
        lines.push(line(top, &path)?);
        if fs::symlink_metadata(&path)?.is_dir() {
            for item in fs::read_dir(&path)? {
                paths.push(item?.path());
            }
        }
    }
    lines.sort();
    Ok(lines)
}

fn line(top: &Path, path: &Path) -> io::Result<String> {
    let meta = fs::symlink_metadata(path)?;
    let name = path.strip_prefix(top).unwrap_or(path).display();
    let what = match (meta.is_symlink(), meta.is_file()) {
        (true, _) => format!("-> {}", fs::read_link(path)?.display()),
        (_, true) => format!("{} bytes {}", meta.len(), blake3::hash(&fs::read(path)?)),
        _ => meta.rdev().to_string(),
    };
    let links = if meta.is_dir() { 0 } else { meta.nlink() };
    let (mode, uid, gid, secs, nanos) =
        (meta.mode(), meta.uid(), meta.gid(), meta.mtime(), meta.mtime_nsec());
    Ok(format!("{name} {mode:o} {uid}:{gid} {links} {secs}.{nanos:09} {what}"))
}
