//! A repository in a temporary folder, and a folder to back up into it.

use engine::{BackupOutcome, BackupRequest, Silent, Source, backup};
use format::codec::Level;
use format::config::Parameters;
use format::id::WriterId;
use format::keys::{Capability, Key};
use format::kind::Timestamp;
use format::slot::ArgonCost;
use format::snapshot::{Mode, Snapshot};
use host::{Rules, WalkOptions};
use repo::cache::Cache;
use repo::reader::Reader;
use repo::seed::Seed;
use repo::snapshots::SnapshotList;
use repo::workers::Workers;
use repo::{Credential, NewRepo, NewSlot, OpenOptions, Repo, RepoResult};
use std::cell::Cell;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::{LocalOptions, LocalStore, Store};

pub(crate) struct World {
    folder: tempfile::TempDir,
    runs: Cell<u8>,
}

/// A reader that fails after some bytes.
pub(crate) struct FailsAfter(pub(crate) usize);

impl Read for FailsAfter {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::Error::other("the command failed"));
        }
        let n = buffer.len().min(self.0);
        self.0 -= n;
        Ok(n)
    }
}

pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

impl World {
    pub(crate) fn new() -> Self {
        let world = World { folder: tempfile::tempdir().unwrap(), runs: Cell::new(0) };
        fs::create_dir(world.source()).unwrap();
        let slot = NewSlot {
            credential: Credential::Random(Key::new([1; 32])),
            is_recovery: false,
            capability: Capability::Owner,
            cost: ArgonCost::default(),
            label: String::new(),
        };
        let new = NewRepo {
            parameters: Parameters::default(),
            slots: vec![slot],
            family: None,
            created: Timestamp::default(),
            seed: Seed::new([5; 32]),
        };
        Repo::create(world.store(), new).unwrap();
        world
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::new(
            LocalStore::open(
                &self.folder.path().join("repo"),
                &LocalOptions { create_root: true, ..Default::default() },
            )
            .unwrap(),
        )
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("source")
    }

    /// A source whose path and contents are the same in every world of this process.
    pub(crate) fn shared_source() -> PathBuf {
        let quiet = Path::new("/dev/shm");
        let folder = if quiet.is_dir() { quiet.to_path_buf() } else { std::env::temp_dir() };
        folder.canonicalize().unwrap().join(format!("lifeboat-shared-{}", std::process::id()))
    }

    pub(crate) fn fill(&self, files: usize) {
        self.fill_in(&self.source(), files);
    }

    pub(crate) fn fill_in(&self, folder: &Path, files: usize) {
        for n in 0..files {
            let dir = folder.join(format!("d{}", n % 17));
            fs::create_dir_all(&dir).unwrap();
            let path = dir.join(format!("f{n}"));
            if !path.exists() {
                fs::write(&path, noise(n as u64, n * 37 % 5000 + 1)).unwrap();
                let old = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
                fs::File::options().write(true).open(&path).unwrap().set_times(old).unwrap();
            }
        }
    }

    pub(crate) fn reader(&self) -> Arc<Reader> {
        let credential = Credential::Random(Key::new([1; 32]));
        let repo = Repo::open(self.store(), &credential, &OpenOptions::default()).unwrap();
        Arc::new(Reader::open(Arc::new(repo), Cache::at(self.folder.path().join("cache"))).unwrap())
    }

    pub(crate) fn snapshots(&self) -> Vec<Snapshot> {
        let list = SnapshotList::read(self.reader().repo()).unwrap();
        assert!(list.unreadable.is_empty());
        list.visible().cloned().collect()
    }

    pub(crate) fn components(&self, path: &str) -> Vec<Vec<u8>> {
        let full = self.source().join(path);
        let names = full.iter().map(|c| c.as_encoded_bytes().to_vec());
        names.collect()
    }

    /// Names and bytes of all objects.
    pub(crate) fn objects(&self) -> Vec<(String, Vec<u8>)> {
        let store = self.store();
        let mut names = Vec::new();
        store
            .list("", &mut |info| {
                names.push(info.name);
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        names.iter().map(|n| (n.to_string(), store.get(n, 1 << 30).unwrap())).collect()
    }

    pub(crate) fn backup(&self, mode: Mode, adjust: impl FnOnce(&mut BackupRequest)) -> BackupOutcome {
        self.try_backup(|r| {
            r.mode = mode;
            adjust(r);
        })
        .unwrap()
    }

    pub(crate) fn try_backup(&self, adjust: impl FnOnce(&mut BackupRequest)) -> RepoResult<BackupOutcome> {
        self.runs.set(self.runs.get() + 1);
        // Far in the future: files written just now are not racy then.
        let time = Timestamp { secs: 4_000_000_000 + self.runs.get() as i64 * 100, nanos: 0 };
        let mut request = BackupRequest {
            source: Source::Paths(vec![self.source()]),
            rules: Arc::new(Rules::default()),
            excludes: Vec::new(),
            walk: WalkOptions::default(),
            mode: Mode::Incremental,
            parent: self.snapshots().pop(),
            base: None,
            host: "atlas".into(),
            user: "me".into(),
            tags: Vec::new(),
            description: String::new(),
            time,
            clock: Arc::new(move || time),
            writer: WriterId([7; 16]),
            previous: None,
            seed: Seed::new([self.runs.get(); 32]),
            level: Level(3),
            read_workers: Workers(2),
            seal_workers: Workers(2),
            upload_workers: Workers(1),
            fixed_chunks: Default::default(),
            ignore_inode: false,
            dry_run: false,
            skip_if_unchanged: false,
            program: "test".into(),
        };
        adjust(&mut request);
        backup(&self.reader(), request, &Silent)
    }
}
