//! What operations may cost in requests.

use repo::cache::Cache;
use repo::reader::Reader;
use repo::snapshots::SnapshotList;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use storage::{
    CacheOptions, CacheStore, Capabilities, LookStore, ObjectInfo, ObjectName, PutMode, RecordStore,
    RequestCounts, Store, StoreResult, Upload,
};
use testkit::dice::Dice;
use testkit::files::random_files;
use testkit::mini::{self, Backup, backup};
use testkit::world::World;

#[test]
fn opening_listing_and_reading_ask_for_no_more_than_they_need() {
    let world = World::new(1);
    let cache = tempfile::tempdir().unwrap();
    let cache = || Cache::at(cache.path().to_path_buf());
    let mut files = random_files(&mut Dice::new(1), 200);
    files.insert("one/file".into(), b"read alone".to_vec());
    let mut root = None;
    for n in 0..5 {
        files.insert(format!("new{n}"), vec![n; 10]);
        let reader = Arc::new(Reader::open(world.open().unwrap(), cache()).unwrap());
        root = Some(backup(&reader, &files, &Backup::new(n as u64)).unwrap().snapshot.root);
    }
    drop(Reader::open(world.open().unwrap(), cache()).unwrap());

    let store = Arc::new(RecordStore::new(Arc::new(world.sim.connect())));
    let log = store.log();
    let repo = world.open_over(store).unwrap();
    // Both configurations, the list of slots, the slot.
    assert_eq!(log.counts(), RequestCounts { gets: 3, lists: 1, ..RequestCounts::default() });
    log.clear();
    let list = SnapshotList::read(&repo).unwrap();
    assert_eq!(list.snapshots.len(), 5);
    // Records, their second copies, tombs; and each record.
    assert_eq!(log.counts(), RequestCounts { gets: 5, lists: 3, ..RequestCounts::default() });
    log.clear();
    let reader = Reader::open(repo, cache()).unwrap();
    assert_eq!(log.counts(), RequestCounts { lists: 1, ..RequestCounts::default() }, "segments are cached");
    log.clear();
    let root = root.unwrap();
    let entry = repo::browse::lookup(&reader, root, &mini::key_of("one/file")).unwrap().unwrap();
    let nodes = log.counts();
    assert_eq!(nodes.total(), nodes.range_gets);
    assert!(nodes.total() <= root.level as u64 + 1, "a read for each level at most");
    log.clear();
    assert_eq!(mini::read_file(&reader, &entry).unwrap(), b"read alone");
    assert_eq!(log.counts(), RequestCounts { range_gets: 1, ..RequestCounts::default() });
    log.clear();
    assert_eq!(mini::read_file(&reader, &entry).unwrap(), b"read alone");
    assert_eq!(log.counts().total(), 0, "the block is still at hand");
}

#[test]
fn a_lost_pack_of_many_files_costs_few_listings() {
    let world = World::new(1);
    let files = random_files(&mut Dice::new(1), 300);
    let done = backup(&world.reader().unwrap(), &files, &Backup::new(1)).unwrap();
    for name in world.sim.objects().keys().filter(|n| n.as_str().starts_with("packs/")) {
        world.sim.lose(name);
    }
    let store = Arc::new(RecordStore::new(Arc::new(world.sim.connect())));
    let log = store.log();
    let reader = world.reader_over(store).unwrap();
    log.clear();
    let (_, lost) = mini::restore_what_can_be(&reader, done.snapshot.root).unwrap();
    assert!(lost.len() > 200);
    assert!(log.counts().lists <= 4 * 10, "{} listings", log.counts().lists);
}

#[test]
fn damaged_or_vanished_cache_files_cost_time_only() {
    let world = World::new(1);
    let folder = tempfile::tempdir().unwrap();
    let open =
        || Arc::new(Reader::open(world.open().unwrap(), Cache::at(folder.path().to_path_buf())).unwrap());
    let files = random_files(&mut Dice::new(1), 200);
    let done = backup(&open(), &files, &Backup::new(1)).unwrap();
    for step in 0..40 {
        for file in std::fs::read_dir(folder.path()).unwrap().flatten() {
            let mut bytes = std::fs::read(file.path()).unwrap();
            let at = bytes.len() * step / 40;
            std::fs::remove_file(file.path()).unwrap();
            if bytes.is_empty() {
                continue;
            }
            match step % 4 {
                0 => bytes.truncate(at),
                1 => bytes[at..].fill(0),
                2 => bytes[at] ^= 4,
                _ => continue,
            }
            std::fs::write(file.path(), bytes).unwrap();
        }
        let reader = open();
        assert!(mini::restore(&reader, done.snapshot.root).unwrap() == files);
        let options = Backup { parent: Some(&done.snapshot), ..Backup::new(2 + step as u64) };
        assert_eq!(backup(&reader, &files, &options).unwrap().written.added_bytes, 0);
    }
}

/// What the program does with a distant place: open it, look for the parent, back up, publish.
#[test]
fn a_run_over_an_unchanged_source_costs_a_distant_place_twelve_requests_at_most() {
    let world = World::new(1);
    let folder = tempfile::tempdir().unwrap();
    let files = random_files(&mut Dice::new(1), 200);
    let mut parent = None;
    let mut last = RequestCounts::default();
    for n in 0..6 {
        world.sim.set_time(UNIX_EPOCH + Duration::from_secs(1000 * (n + 1)));
        let record = Arc::new(RecordStore::new(Arc::new(world.sim.connect())));
        let log = record.log();
        let kept = ["config", "keys/", "mirror/", "snapshots/", "gc/"].map(str::to_string).to_vec();
        let looked = LookStore::new(
            record,
            folder.path().join("place"),
            kept,
            Arc::new(|_, bytes| format::envelope::verify(bytes).is_ok()),
        );
        looked.look().unwrap();
        let options = CacheOptions {
            folder: folder.path().join("objects"),
            prefixes: vec!["trees/".into()],
            bytes_max: 1 << 30,
            object_bytes_max: 1 << 20,
            verify: Arc::new(|name, bytes| blake3::hash(bytes).to_hex().as_str() == name.file_name()),
        };
        let distant = Distant(CacheStore::new(Arc::new(Distant(looked)), options));
        let repo = world.open_over(Arc::new(distant)).unwrap();
        let reader = Arc::new(Reader::open(repo, Cache::at(folder.path().join("cache"))).unwrap());
        let list = SnapshotList::read(reader.repo()).unwrap();
        assert_eq!(list.snapshots.len() as u64, n);
        let options = Backup { parent: parent.as_ref(), ..Backup::new(n) };
        let done = backup(&reader, &files, &options).unwrap();
        if n > 0 {
            assert_eq!(done.written.blobs, 0);
        }
        parent = Some(done.snapshot);
        last = log.counts();
    }
    assert!(last.total() <= 12, "{last:?}");
    assert_eq!(last.lists, 2, "one look before, one after the pending record: {last:?}");
}

/// A place that is not on this machine.
struct Distant<S>(S);

impl<S: Store> Store for Distant<S> {
    fn location(&self) -> String {
        self.0.location()
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { local: false, ..self.0.capabilities() }
    }
    fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()> {
        self.0.put(name, bytes, mode)
    }
    fn upload(&self, len: u64) -> StoreResult<Box<dyn Upload>> {
        self.0.upload(len)
    }
    fn get(&self, name: &ObjectName, max: u64) -> StoreResult<Vec<u8>> {
        self.0.get(name, max)
    }
    fn get_range(&self, name: &ObjectName, range: std::ops::Range<u64>) -> StoreResult<Vec<u8>> {
        self.0.get_range(name, range)
    }
    fn list(&self, prefix: &str, visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>) -> StoreResult<()> {
        self.0.list(prefix, visit)
    }
    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectInfo> {
        self.0.stat(name)
    }
    fn delete(&self, name: &ObjectName) -> StoreResult<()> {
        self.0.delete(name)
    }
    fn look(&self) -> StoreResult<()> {
        self.0.look()
    }
    fn end_look(&self) {
        self.0.end_look();
    }
}
