//! A repository in a temporary folder, snapshots of real folders or of invented entries, and a target.

use engine::{BackupRequest, Monitor, Note, RestoreOutcome, RestoreRequest, Severity, Silent, Source};
use format::id::{BlobId, BlobKind, WriterId};
use format::kind::{Kind, Timestamp};
use format::snapshot::{Completeness, Mode, Snapshot, Stats};
use format::tree::{Class, Content, Entry, Marks, Owner, TreeBuilder, TreeSink, Xattrs};
use repo::cache::Cache;
use repo::index::PackListing;
use repo::reader::Reader;
use repo::seed::Seed;
use repo::workers::Workers;
use repo::writer::{Writer, WriterOptions};
use repo::{RepoError, RepoResult};
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use storage::Store;
pub(crate) use testkit::disk::noise;
use testkit::disk::{self, Disk, time_of};

pub(crate) struct World {
    disk: Disk,
    runs: Cell<u32>,
}

/// Keeps what it hears; stops after a number of reports of progress.
#[derive(Default)]
pub(crate) struct Ear {
    pub(crate) notes: Mutex<Vec<Note>>,
    pub(crate) items: Mutex<Vec<(engine::Action, Vec<u8>)>>,
    pub(crate) stop_after: Option<usize>,
    pub(crate) heard: AtomicUsize,
    pub(crate) talking: AtomicBool,
}

impl Ear {
    fn alone(&self, listen: impl FnOnce()) {
        assert!(!self.talking.swap(true, Ordering::SeqCst), "one thread at a time talks to the monitor");
        listen();
        self.talking.store(false, Ordering::SeqCst);
    }

    pub(crate) fn problems(&self) -> Vec<Note> {
        self.notes.lock().unwrap().iter().filter(|n| n.severity != Severity::Info).cloned().collect()
    }

    pub(crate) fn actions(&self, wanted: engine::Action) -> Vec<String> {
        let items = self.items.lock().unwrap();
        let mut paths: Vec<String> = items
            .iter()
            .filter(|(action, _)| *action == wanted)
            .map(|(_, path)| String::from_utf8_lossy(path).into_owned())
            .collect();
        paths.sort();
        paths
    }
}

impl Monitor for Ear {
    fn progress(&self, _: &engine::Progress) {
        self.alone(|| {
            self.heard.fetch_add(1, Ordering::SeqCst);
        });
    }
    fn note(&self, note: &Note) {
        self.alone(|| self.notes.lock().unwrap().push(note.clone()));
    }
    fn wants_items(&self) -> bool {
        true
    }
    fn item(&self, action: engine::Action, path: &[u8], _: u64) {
        self.alone(|| self.items.lock().unwrap().push((action, path.to_vec())));
    }
    fn cancelled(&self) -> bool {
        self.stop_after.is_some_and(|n| self.heard.load(Ordering::SeqCst) > n)
    }
}

/// Gives nodes to the session.
struct Nodes<'w>(&'w mut Writer);

impl TreeSink for Nodes<'_> {
    type Error = RepoError;
    fn put_node(&mut self, node: &[u8]) -> RepoResult<BlobId> {
        self.0.put_node(node)
    }
}

/// An entry of this kind that belongs to whoever runs the test.
pub(crate) fn entry(kind: Kind) -> Entry {
    let owner = Owner {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        ..Owner::default()
    };
    let mode = if kind == Kind::Directory { 0o755 } else { 0o644 };
    let class = Class { kind, mode, owner, flags: 0, project: 0, mount: 0, xattrs: Xattrs::None };
    Entry {
        class: Arc::new(class),
        mtime: Timestamp { secs: 1_000_000_000, nanos: 5 },
        ctime: Timestamp::default(),
        inode: 0,
        size_bytes: 0,
        link_group: None,
        rdev: 0,
        target: Box::default(),
        content: Content::None,
        marks: Marks::default(),
    }
}

impl World {
    pub(crate) fn new() -> Self {
        World { disk: Disk::new(), runs: Cell::new(0) }
    }

    pub(crate) fn top(&self) -> PathBuf {
        self.disk.top()
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.disk.source()
    }

    pub(crate) fn target(&self) -> PathBuf {
        self.top().join("target")
    }

    pub(crate) fn reader(&self) -> Arc<Reader> {
        self.reader_through(self.disk.store())
    }

    pub(crate) fn reader_through(&self, store: Arc<dyn Store>) -> Arc<Reader> {
        self.disk.reader(store, Cache::none())
    }

    fn seed(&self) -> [u8; 32] {
        *blake3::hash(&self.runs.get().to_le_bytes()).as_bytes()
    }

    /// The components of the source folder in a snapshot.
    pub(crate) fn components(&self) -> Vec<Vec<u8>> {
        disk::components(&self.source())
    }

    /// Saves the source folder.
    pub(crate) fn backup(&self) -> Snapshot {
        self.runs.set(self.runs.get() + 1);
        let source = Source::Paths(vec![self.source()]);
        let request = BackupRequest {
            read_workers: Workers(2),
            seal_workers: Workers(2),
            upload_workers: Workers(1),
            ..disk::backup_request(source, time_of(self.runs.get().into()), self.seed())
        };
        engine::backup(&self.reader(), request, &Silent).unwrap().snapshot.unwrap()
    }

    /// A snapshot of invented entries under their keys; `contents` become blobs.
    pub(crate) fn invent(&self, mut entries: Vec<(Vec<u8>, Entry)>, contents: &[&[u8]]) -> Snapshot {
        self.runs.set(self.runs.get() + 1);
        let reader = self.reader();
        let listing = PackListing::read(reader.repo()).unwrap();
        let seed = Seed::new(self.seed());
        let time = Timestamp::default();
        let mut writer = Writer::start(reader.clone(), &listing, seed, time, WriterOptions::default());
        for bytes in contents {
            writer.put(BlobKind::Data, &self.blob_id(&reader, bytes), bytes).unwrap();
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        let mut builder = TreeBuilder::new(reader.repo().keys().boundaries());
        for (key, entry) in &entries {
            builder.push(key, entry, &mut Nodes(&mut writer)).unwrap();
        }
        let root = builder.finish(&mut Nodes(&mut writer)).unwrap().unwrap();
        writer.flush().unwrap();
        Snapshot {
            id: writer.session(),
            writer: WriterId([7; 16]),
            sequence: 1,
            previous: [0; 32],
            root,
            time,
            end: time,
            host: "atlas".into(),
            user: "me".into(),
            sources: vec![b"/".to_vec()],
            tags: Vec::new(),
            mode: Mode::Full,
            base: None,
            parent: None,
            completeness: Completeness::Complete,
            stats: Stats::default(),
            program: "test".into(),
            excludes: Vec::new(),
            mounts: Vec::new(),
            description: String::new(),
        }
    }

    pub(crate) fn blob_id(&self, reader: &Reader, bytes: &[u8]) -> BlobId {
        reader.repo().keys().blob_id(BlobKind::Data, bytes).unwrap()
    }

    /// What a restore of the source folder into the target asks for.
    pub(crate) fn request<'s>(&self, snapshot: &'s Snapshot) -> RestoreRequest<'s> {
        disk::restore_request(snapshot, self.components(), &self.target(), Workers(2))
    }

    pub(crate) fn restore(
        &self,
        snapshot: &Snapshot,
        adjust: impl FnOnce(&mut RestoreRequest<'_>),
    ) -> (RepoResult<RestoreOutcome>, Ear) {
        let ear = Ear::default();
        (self.restore_to(snapshot, &ear, adjust), ear)
    }

    pub(crate) fn restore_to(
        &self,
        snapshot: &Snapshot,
        ear: &Ear,
        adjust: impl FnOnce(&mut RestoreRequest<'_>),
    ) -> RepoResult<RestoreOutcome> {
        let mut request = self.request(snapshot);
        adjust(&mut request);
        engine::restore(&self.reader(), &request, ear)
    }

    /// Restores and expects that nothing is told.
    pub(crate) fn restore_well(
        &self,
        snapshot: &Snapshot,
        adjust: impl FnOnce(&mut RestoreRequest<'_>),
    ) -> (RestoreOutcome, Ear) {
        let (outcome, ear) = self.restore(snapshot, adjust);
        assert_eq!(ear.problems(), []);
        (outcome.unwrap(), ear)
    }

    /// Damages the packs that hold contents: one byte in every `step`.
    pub(crate) fn damage_data(&self, step: usize) {
        for path in files_below(&self.top().join("repo/packs")) {
            let mut bytes = fs::read(&path).unwrap();
            let len = bytes.len();
            (step / 2..len.saturating_sub(4096)).step_by(step).for_each(|i| bytes[i] ^= 0x40);
            fs::remove_file(&path).unwrap();
            fs::write(&path, bytes).unwrap();
        }
    }
}

pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for item in fs::read_dir(folder).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found
}

/// Everything about everything below a folder that users can see, one line a path, in order.
pub(crate) fn inventory(top: &Path) -> Vec<String> {
    disk::inventory(top).unwrap()
}

/// The same without the folder itself: one that was there keeps its attributes.
pub(crate) fn inventory_below(top: &Path) -> Vec<String> {
    inventory(top).split_off(1)
}
