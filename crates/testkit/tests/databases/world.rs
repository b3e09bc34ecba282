//! A repository for dumps, and the way back out of it.

use engine::contents::StoredFiles;
use engine::{BackupOutcome, BackupRequest, RestoreRequest, Silent, Source, backup, restore};
use format::codec::Level;
use format::config::Parameters;
use format::kind::Timestamp;
use format::snapshot::{Mode, Snapshot};
use host::produce::Producer;
use repo::RepoResult;
use repo::reader::Reader;
use repo::snapshots::SnapshotList;
use repo::workers::Workers;
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use testkit::disk::{backup_request, restore_request};
use testkit::world::World;

pub(crate) struct Shelter {
    world: World,
    runs: Cell<u8>,
}

impl Shelter {
    pub(crate) fn new() -> Self {
        Shelter { world: World::with_parameters(1, Parameters::default()), runs: Cell::new(0) }
    }

    pub(crate) fn reader(&self) -> Arc<Reader> {
        self.world.reader().unwrap()
    }

    pub(crate) fn snapshots(&self) -> Vec<Snapshot> {
        SnapshotList::read(self.reader().repo()).unwrap().visible().cloned().collect()
    }

    pub(crate) fn try_keep(&self, producer: impl Producer + 'static) -> RepoResult<BackupOutcome> {
        self.runs.set(self.runs.get() + 1);
        let time = Timestamp { secs: 1_800_000_000 + i64::from(self.runs.get()) * 100, nanos: 0 };
        let source = Source::Produced { name: "db".into(), producer: Box::new(producer), paths: Vec::new() };
        let request = BackupRequest {
            mode: Mode::Incremental,
            parent: self.snapshots().pop(),
            level: Level(3),
            read_workers: Workers(1),
            seal_workers: Workers(2),
            upload_workers: Workers(1),
            ..backup_request(source, time, [self.runs.get(); 32])
        };
        backup(&self.reader(), request, &Silent)
    }

    pub(crate) fn keep(&self, producer: impl Producer + 'static) -> BackupOutcome {
        self.try_keep(producer).unwrap()
    }

    /// The files of the newest snapshot.
    pub(crate) fn files(&self) -> StoredFiles<'static> {
        StoredFiles::of(&self.reader(), &self.snapshots().pop().unwrap(), Some("db")).unwrap()
    }

    /// Restores a folder of the newest snapshot.
    pub(crate) fn restore_folder(&self, path: &[&str], target: &Path) {
        let snapshot = self.snapshots().pop().unwrap();
        let request = RestoreRequest {
            verify: true,
            ..restore_request(&snapshot, self.files().components(path), target, Workers(2))
        };
        let outcome = restore(&self.reader(), &request, &Silent).unwrap();
        assert_eq!(outcome.problems, 0);
    }

    /// All bytes of the place, to look for what must not be there.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.snapshots().iter().map(|s| format!("{s:?}")).collect()
    }
}
