//! A repository in a temporary folder, and a folder to back up into it.

use engine::{BackupOutcome, BackupRequest, Silent, Source, backup};
use format::codec::Level;
use format::snapshot::{Mode, Snapshot};
use repo::RepoResult;
use repo::cache::Cache;
use repo::reader::Reader;
use repo::snapshots::SnapshotList;
use repo::workers::Workers;
use std::cell::Cell;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
pub(crate) use testkit::disk::noise;
use testkit::disk::{self, Disk, time_of};

pub(crate) struct World {
    disk: Disk,
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

impl World {
    pub(crate) fn new() -> Self {
        World { disk: Disk::new(), runs: Cell::new(0) }
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.disk.source()
    }

    /// A source whose path and contents are the same in every world of this process, below folders in which
    /// nobody else makes anything: their times are part of what is saved.
    pub(crate) fn shared_source() -> PathBuf {
        let quiet = Path::new("/dev/shm");
        let folder = if quiet.is_dir() { quiet.to_path_buf() } else { env!("CARGO_TARGET_TMPDIR").into() };
        folder.canonicalize().unwrap().join(format!("lifeboat-shared-{}", std::process::id()))
    }

    /// What the folders above the shared source say of themselves: they are part of what is saved.
    pub(crate) fn above_shared_source() -> Vec<(i64, i64, i64, i64)> {
        use std::os::unix::fs::MetadataExt;
        let stamp = |path: &Path| {
            let about = fs::metadata(path).unwrap();
            (about.mtime(), about.mtime_nsec(), about.ctime(), about.ctime_nsec())
        };
        World::shared_source().ancestors().skip(1).map(stamp).collect()
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
        self.disk.reader(self.disk.store(), Cache::at(self.disk.top().join("cache")))
    }

    pub(crate) fn snapshots(&self) -> Vec<Snapshot> {
        let list = SnapshotList::read(self.reader().repo()).unwrap();
        assert!(list.unreadable.is_empty());
        list.visible().cloned().collect()
    }

    pub(crate) fn components(&self, path: &str) -> Vec<Vec<u8>> {
        disk::components(&self.source().join(path))
    }

    /// Names and bytes of all objects.
    pub(crate) fn objects(&self) -> Vec<(String, Vec<u8>)> {
        let store = self.disk.store();
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
        let run = self.runs.get();
        let source = Source::Paths(vec![self.source()]);
        let mut request = BackupRequest {
            mode: Mode::Incremental,
            parent: self.snapshots().pop(),
            level: Level(3),
            read_workers: Workers(2),
            seal_workers: Workers(2),
            upload_workers: Workers(1),
            ..disk::backup_request(source, time_of(run.into()), [run; 32])
        };
        adjust(&mut request);
        backup(&self.reader(), request, &Silent)
    }
}
