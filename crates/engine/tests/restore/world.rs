//! A repository in a temporary folder, snapshots of real folders or of invented entries, and a target.

use engine::{
    BackupRequest, Monitor, Note, Overwrite, RestoreOutcome, RestoreRequest, Severity, Silent, Source,
};
use format::codec::Level;
use format::config::Parameters;
use format::id::{BlobId, BlobKind, WriterId};
use format::keys::{Capability, Key};
use format::kind::{Kind, Timestamp};
use format::slot::ArgonCost;
use format::snapshot::{Completeness, Mode, Snapshot, Stats};
use format::tree::{Class, Content, Entry, Marks, Owner, TreeBuilder, TreeSink, Xattrs};
use host::{Rules, WalkOptions};
use repo::cache::Cache;
use repo::index::PackListing;
use repo::reader::Reader;
use repo::seed::Seed;
use repo::workers::Workers;
use repo::writer::{Writer, WriterOptions};
use repo::{Credential, NewRepo, NewSlot, OpenOptions, Repo, RepoError, RepoResult};
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use storage::{LocalOptions, LocalStore, Store};

pub(crate) struct World {
    folder: tempfile::TempDir,
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

pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
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

    pub(crate) fn top(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.top().join("source")
    }

    pub(crate) fn target(&self) -> PathBuf {
        self.top().join("target")
    }

    fn store(&self) -> Arc<dyn Store> {
        let options = LocalOptions { create_root: true, ..Default::default() };
        Arc::new(LocalStore::open(&self.top().join("repo"), &options).unwrap())
    }

    pub(crate) fn reader(&self) -> Arc<Reader> {
        self.reader_through(self.store())
    }

    pub(crate) fn reader_through(&self, store: Arc<dyn Store>) -> Arc<Reader> {
        let credential = Credential::Random(Key::new([1; 32]));
        let repo = Repo::open(store, &credential, &OpenOptions::default()).unwrap();
        Arc::new(Reader::open(Arc::new(repo), Cache::none()).unwrap())
    }

    fn seed(&self) -> Seed {
        Seed::new(*blake3::hash(&self.runs.get().to_le_bytes()).as_bytes())
    }

    /// The components of the source folder in a snapshot.
    pub(crate) fn components(&self) -> Vec<Vec<u8>> {
        self.source().iter().map(|name| name.as_encoded_bytes().to_vec()).collect()
    }

    /// Saves the source folder.
    pub(crate) fn backup(&self) -> Snapshot {
        self.runs.set(self.runs.get() + 1);
        let time = Timestamp { secs: 4_000_000_000 + self.runs.get() as i64 * 100, nanos: 0 };
        let request = BackupRequest {
            source: Source::Paths(vec![self.source()]),
            rules: Arc::new(Rules::default()),
            excludes: Vec::new(),
            walk: WalkOptions::default(),
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
            seed: self.seed(),
            level: Level(1),
            read_workers: Workers(2),
            seal_workers: Workers(2),
            upload_workers: Workers(1),
            fixed_chunks: Default::default(),
            ignore_inode: false,
            dry_run: false,
            skip_if_unchanged: false,
            program: "test".into(),
        };
        engine::backup(&self.reader(), request, &Silent).unwrap().snapshot.unwrap()
    }

    /// A snapshot of invented entries under their keys; `contents` become blobs.
    pub(crate) fn invent(&self, mut entries: Vec<(Vec<u8>, Entry)>, contents: &[&[u8]]) -> Snapshot {
        self.runs.set(self.runs.get() + 1);
        let reader = self.reader();
        let listing = PackListing::read(reader.repo()).unwrap();
        let seed = self.seed();
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
        RestoreRequest {
            snapshot,
            path: self.components(),
            target: self.target(),
            rules: Arc::new(Rules::default()),
            overwrite: Overwrite::Always,
            delete: false,
            dry_run: false,
            verify: false,
            sync: false,
            numeric_ids: true,
            workers: Workers(2),
        }
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
    let mut lines = Vec::new();
    describe(top, top, &mut lines);
    lines.sort();
    lines
}

/// The same without the folder itself: one that was there keeps its attributes.
pub(crate) fn inventory_below(top: &Path) -> Vec<String> {
    inventory(top).split_off(1)
}

fn describe(top: &Path, path: &Path, lines: &mut Vec<String>) {
    use std::os::unix::fs::MetadataExt;
    let meta = fs::symlink_metadata(path).unwrap();
    let name = path.strip_prefix(top).unwrap().display().to_string();
    let (mode, rdev, nlink) = (meta.mode(), meta.rdev(), if meta.is_dir() { 0 } else { meta.nlink() });
    let what = if meta.is_symlink() {
        format!("-> {}", fs::read_link(path).unwrap().display())
    } else if meta.is_file() {
        format!("{} bytes {}", meta.len(), blake3::hash(&fs::read(path).unwrap()))
    } else {
        format!("{rdev}")
    };
    let (secs, nanos) = (meta.mtime(), meta.mtime_nsec());
    lines.push(format!("{name} {mode:o} {}:{} {nlink} {secs}.{nanos:09} {what}", meta.uid(), meta.gid()));
    if meta.is_dir() {
        let mut below: Vec<_> = fs::read_dir(path).unwrap().map(|item| item.unwrap().path()).collect();
        below.sort();
        below.iter().for_each(|path| describe(top, path, lines));
    }
}
